// Everything about a model's tokenizer that does not depend on the algorithm: the vocabulary after the adjustments by
// well-known texts, special ids, flags, the bytes of every token. Filled once, read-only afterwards.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/vocabulary.h"

namespace stretto {

struct TokenTable {
  Vocabulary vocabulary;
  SpecialIds special;
  bool add_bos = false;
  bool add_eos = false;
  bool add_space_prefix = false;
  std::string pre;                        // name of the pre-tokenizer; empty where the algorithm has none
  std::vector<int32_t> eog_ids;           // ascending
  std::vector<int32_t> suppressed;        // ids the sampler must never emit
  std::vector<bool> swallows_whitespace;  // [size] or empty: special tokens that eat the ASCII blanks after them
  std::vector<std::string> pieces;        // [size]: bytes of each token with specials shown
  std::optional<std::string> chat_template;
  std::optional<std::string> tool_template;  // for requests with tools, where the model has one of its own
  std::vector<std::string> warnings;
};

// How token texts spell bytes.
enum class TextCoding {
  kByteAlphabet,  // byte-level BPE: text/byte_alphabet.h
  kBlankSymbol,   // raw UTF-8 with U+2581 for a space
};

// Extends the end-of-generation set and the token types by texts that models use without marking them:
// end-of-turn texts become control tokens and end generation, infill texts become control tokens.
// `model_name` (general.name) finds the models whose special tokens eat blanks. Expects the stored types and ids.
void apply_well_known_texts(TokenTable& table, std::string_view model_name);

// Fills table.pieces; types must be final.
void fill_pieces(TokenTable& table, TextCoding coding);

}  // namespace stretto
