// Directories without tokenizer.json whose vocabulary is tokenizer.model or tekken.json.
#pragma once

#include <memory>

#include "text/hf/side_files.h"
#include "text/hf_tokenizer.h"

namespace stretto::hf {

// Whether one of the two is the vocabulary of the directory: tokenizer.json and vocab.json with merges.txt come first.
bool has_vocabulary_file(const HfTokenizerFiles& files);

// Requires has_vocabulary_file(). `table` brings the warnings of reading `side`.
// Throws Error: kUnsupported, kInvalidModel, kBadArgument for options that the file cannot follow.
std::unique_ptr<const Tokenizer> make_vocabulary_file_tokenizer(const HfTokenizerFiles& files, const SideFiles& side,
                                                                const HfTokenizerOptions& options, TokenTable table);

}  // namespace stretto::hf
