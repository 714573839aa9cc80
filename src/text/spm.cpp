#include "text/spm.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/check.h"
#include "base/error.h"
#include "text/bpe.h"

namespace stretto {
namespace {

// Maps floats to integers of the opposite order: the highest score gets the lowest number. Never PairMerge::kNever.
uint32_t descending(float score) {
  score += 0.0f;  // -0 and 0 are equal
  uint32_t bits;
  std::memcpy(&bits, &score, sizeof(bits));
  const uint32_t ascending = (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
  return ~ascending;
}

// Bytes of a character by the high half of its first byte; invalid UTF-8 is cut too.
size_t character_length(char first) {
  const auto byte = static_cast<uint8_t>(first);
  return byte < 0xC0 ? 1 : byte < 0xE0 ? 2 : byte < 0xF0 ? 3 : 4;
}

}  // namespace

Spm::Spm(const Vocabulary& vocabulary, const std::vector<double>& scores, bool add_space_prefix,
         std::optional<int32_t> unknown)
    : vocabulary_(vocabulary), add_space_prefix_(add_space_prefix), byte_ids_(find_byte_tokens(vocabulary)) {
  CHECK(scores.size() >= static_cast<size_t>(vocabulary.size()));
  priorities_.reserve(vocabulary.size());
  for (int32_t id = 0; id < vocabulary.size(); ++id) {
    if (std::isnan(scores[id])) fail(ErrorKind::kInvalidModel, "tokenizer.ggml.scores[{}] is not a number", id);
    priorities_.push_back(descending(static_cast<float>(scores[id])));
  }
  for (int byte = 0; byte < 256; ++byte) {
    if (byte_ids_[byte] >= 0) continue;
    const char text = static_cast<char>(byte);
    byte_ids_[byte] = vocabulary.find(std::string_view(&text, 1));
    if (byte_ids_[byte] < 0) byte_ids_[byte] = unknown.value_or(-1);
  }
}

void Spm::encode(std::string_view raw, std::vector<int32_t>& ids, std::vector<std::string>*) const {
  if (raw.empty()) return;
  const auto scratch = scratch_.lease();
  std::string& text = scratch->escaped;
  if (add_space_prefix_) {
    std::string prefixed;
    prefixed.reserve(raw.size() + 1);
    prefixed.push_back(' ');
    prefixed.append(raw);
    escape_spaces(prefixed, text);
  } else {
    escape_spaces(raw, text);
  }
  std::vector<Symbol>& symbols = scratch->symbols;
  symbols.clear();
  for (size_t at = 0; at < text.size();) {
    const size_t length = std::min(character_length(text[at]), text.size() - at);
    const int32_t id = vocabulary_.find(std::string_view(text).substr(at, length));
    symbols.push_back({static_cast<uint32_t>(at), static_cast<uint32_t>(length), id});
    at += length;
  }
  scratch->merger.merge(symbols, [&](const Symbol& left, const Symbol& right) {
    const int32_t id = vocabulary_.find(std::string_view(text).substr(left.begin, left.length + right.length));
    return id < 0 ? PairMerge{} : PairMerge{priorities_[id], id};
  });
  for (const Symbol& symbol : symbols) {
    if (symbol.id >= 0) {
      ids.push_back(symbol.id);
      continue;
    }
    for (const char c : std::string_view(text).substr(symbol.begin, symbol.length)) {
      const int32_t id = byte_ids_[static_cast<uint8_t>(c)];
      if (id >= 0) ids.push_back(id);
    }
  }
  trim_buffer(scratch->escaped);
  trim_buffer(scratch->symbols);
  scratch->merger.trim();
}

}  // namespace stretto
