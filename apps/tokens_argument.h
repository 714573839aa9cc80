// --tokens: ids written out, or taken from a file.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace stretto::app {

// "1,2,3" (commas or blanks), or "@FILE": a safetensors file with a tensor `tokens` (I32 or I64), or a text file of
// ids. Throws Error(kBadArgument / kNotFound / kInvalidModel).
std::vector<int32_t> parse_tokens(const std::string& argument);

// A whole file ("-": standard input). Throws Error(kNotFound / kBadArgument).
std::string read_file(const std::string& path);

}  // namespace stretto::app
