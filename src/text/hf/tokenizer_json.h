// The text of a tokenizer.json as data. The vocabulary and the merges, nearly all of such a file, are streamed into
// flat lists; the rest becomes a JSON tree.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"

namespace stretto::hf {

inline constexpr size_t kMaxFileBytes = size_t{256} << 20;
inline constexpr size_t kMaxTokenBytes = size_t{64} << 10;
inline constexpr uint32_t kMaxVocabulary = uint32_t{1} << 22;  // entries, and every id is below it
inline constexpr uint32_t kMaxMerges = uint32_t{1} << 23;

struct BpeData {
  bool has_vocab = false;
  bool has_merges = false;
  // Vocabulary entries in file order. Of entries with one text the last counts.
  std::vector<std::string> texts;
  std::vector<int32_t> ids;
  std::vector<std::string> merge_parts;  // [2 * n_merges]: left, right; rank = position
};

struct TokenizerJson {
  Json root;    // without model.vocab and model.merges; of equal keys only the last is kept
  BpeData bpe;  // model.vocab and model.merges
};

// Strict JSON: no byte-order mark, comments, NaN, lone surrogates or anything after the end.
// Throws Error(kInvalidModel) with `where` and the byte offset or the JSON path.
TokenizerJson parse_tokenizer_json(std::string_view text, std::string_view where);

// The older pair of files: {text: id}, and lines "left right".
BpeData parse_vocab_and_merges(std::string_view vocab_json, std::string_view merges_txt);

}  // namespace stretto::hf
