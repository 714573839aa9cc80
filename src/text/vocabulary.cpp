#include "text/vocabulary.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/error.h"
#include "text/flat_map.h"

namespace stretto {
namespace {

constexpr size_t kMaxTokens = size_t{1} << 24;

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

}  // namespace

Vocabulary::Vocabulary(const std::vector<std::string>& texts, std::vector<TokenType> types) : types_(std::move(types)) {
  CHECK(types_.size() == texts.size());
  if (texts.empty()) fail(ErrorKind::kInvalidModel, "the vocabulary has no tokens");
  if (texts.size() > kMaxTokens) {
    fail(ErrorKind::kInvalidModel, "the vocabulary has {} tokens, at most {} are allowed", texts.size(), kMaxTokens);
  }
  constexpr size_t kLongestReplacement = 16;  // "[EMPTY_16777215]"
  uint64_t total = 0;
  for (const std::string& text : texts) total += std::max(text.size(), kLongestReplacement);
  if (total > UINT32_MAX) {
    fail(ErrorKind::kInvalidModel, "the token texts take {} bytes, at most {} are allowed", total, UINT32_MAX);
  }
  begin_.reserve(texts.size() + 1);
  begin_.push_back(0);
  for (const std::string& text : texts) {
    if (text.empty()) {
      bytes_ += fmt::format("[EMPTY_{}]", begin_.size() - 1);
    } else {
      bytes_ += text;
    }
    max_text_bytes_ = std::max(max_text_bytes_, bytes_.size() - begin_.back());
    begin_.push_back(static_cast<uint32_t>(bytes_.size()));
  }
  index_texts();
}

void Vocabulary::index_texts() {
  slots_.assign(hash_slots(types_.size()), Slot{});
  const size_t mask = slots_.size() - 1;
  for (int32_t id = 0; id < size(); ++id) {
    const uint64_t hash = hash_bytes(text(id));
    const auto tag = static_cast<uint32_t>(hash >> 32);
    size_t at = hash & mask;
    while (slots_[at].id >= 0 && (slots_[at].tag != tag || text(slots_[at].id) != text(id))) at = (at + 1) & mask;
    if (slots_[at].id >= 0) duplicates_.push_back(slots_[at].id);
    slots_[at] = {tag, id};
  }
  std::sort(duplicates_.begin(), duplicates_.end());
}

int32_t Vocabulary::find(std::string_view wanted) const {
  if (wanted.empty() || wanted.size() > max_text_bytes_) return -1;
  const uint64_t hash = hash_bytes(wanted);
  const auto tag = static_cast<uint32_t>(hash >> 32);
  const size_t mask = slots_.size() - 1;
  for (size_t at = hash & mask; slots_[at].id >= 0; at = (at + 1) & mask) {
    if (slots_[at].tag == tag && text(slots_[at].id) == wanted) return slots_[at].id;
  }
  return -1;
}

int byte_token_value(std::string_view text) {
  if (text.size() != 6 || text.substr(0, 3) != "<0x" || text[5] != '>') return -1;
  const int high = hex_digit(text[3]);
  const int low = hex_digit(text[4]);
  return high < 0 || low < 0 ? -1 : high * 16 + low;
}

std::string byte_token_text(uint8_t byte) { return fmt::format("<0x{:02X}>", byte); }

}  // namespace stretto
