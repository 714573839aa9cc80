// Where a tokenizer comes from: tokenizer.json, or the older vocab.json + merges.txt with a pipeline by model type.
#pragma once

#include "text/hf/side_files.h"
#include "text/hf/tokenizer_json.h"
#include "text/hf_tokenizer.h"

namespace stretto::hf {

// Throws Error: kNotFound without a vocabulary, kInvalidModel.
TokenizerJson load_source(const HfTokenizerFiles& files, const SideFiles& side, Warnings& warnings);

// Mistral files of transformers < 5 that carry the expression of Llama 3: a warning, or with `fix` the expression of
// the tekken family in its place.
void check_mistral_regex(TokenizerJson& source, const SideFiles& side, bool fix, Warnings& warnings);

}  // namespace stretto::hf
