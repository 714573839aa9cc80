// tokenizer.model: a SentencePiece model of the BPE kind.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "text/raw_encoder.h"
#include "text/token_table.h"

namespace stretto::hf {

struct SentencePieceModel {
  std::vector<std::string> texts;
  std::vector<TokenType> types;  // as stored; SentencePiece numbers them as GGUF does
  std::vector<double> scores;
  bool byte_fallback = false;
  bool add_dummy_prefix = true;
  bool remove_extra_whitespaces = true;
  int32_t unknown = 0, bos = 1, eos = 2, padding = -1;  // negative: none
};

// Throws Error: kUnsupported for a tiktoken file, a model that is not BPE, a normalizer that changes characters;
// kInvalidModel for a broken file. Both name file, byte or piece, and value.
SentencePieceModel parse_sentencepiece(std::string_view file);

// `scores` has an entry for each token of `table`. With `remove_extra_whitespaces` every stretch of text loses the
// spaces at its ends, and runs of them inside become one.
std::unique_ptr<const RawEncoder> make_sentencepiece_encoder(const TokenTable& table, const std::vector<double>& scores,
                                                             bool remove_extra_whitespaces);

}  // namespace stretto::hf
