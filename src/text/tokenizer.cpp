#include "text/tokenizer.h"

#include <algorithm>

#include "base/check.h"
#include "base/error.h"

namespace stretto {

const std::string& Tokenizer::piece(int32_t id, bool show_special) const {
  static const std::string kHidden;
  CHECK(table_.vocabulary.contains(id));
  const TokenType type = table_.vocabulary.type(id);
  const bool hidden = !show_special && (type == TokenType::kControl || type == TokenType::kUnknown);
  return hidden ? kHidden : table_.pieces[id];
}

std::string Tokenizer::decode(std::span<const int32_t> ids, bool show_special) const {
  std::string out;
  bool at_start = table_.add_space_prefix;
  for (const int32_t id : ids) {
    if (!table_.vocabulary.contains(id)) {
      fail(ErrorKind::kBadArgument, "token id {} is outside the vocabulary of {} tokens", id, size());
    }
    std::string_view bytes = piece(id, show_special);
    if (at_start && !bytes.empty()) {
      // encode() puts its space before ordinary text only.
      const TokenType type = table_.vocabulary.type(id);
      if ((type == TokenType::kNormal || type == TokenType::kByte) && bytes.front() == ' ') bytes.remove_prefix(1);
      at_start = false;
    }
    out += bytes;
  }
  return out;
}

std::string_view Tokenizer::text(int32_t id) const {
  CHECK(table_.vocabulary.contains(id));
  return table_.vocabulary.text(id);
}

std::optional<int32_t> Tokenizer::find(std::string_view text) const {
  const int32_t id = table_.vocabulary.find(text);
  return id < 0 ? std::nullopt : std::optional<int32_t>(id);
}

TokenType Tokenizer::type(int32_t id) const {
  CHECK(table_.vocabulary.contains(id));
  return table_.vocabulary.type(id);
}

bool Tokenizer::is_eog(int32_t id) const {
  return std::binary_search(table_.eog_ids.begin(), table_.eog_ids.end(), id);
}

}  // namespace stretto
