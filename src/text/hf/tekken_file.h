// tekken.json: the vocabulary file of Mistral's newer models.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "text/hf/json_fields.h"
#include "text/token_table.h"

namespace stretto::hf {

struct TekkenModel {
  std::string pattern;
  int32_t n_special = 0;           // ids 0 .. n_special - 1; id = n_special + rank for the others
  std::vector<std::string> texts;  // by id: special tokens as written, the others in the byte alphabet
  std::vector<TokenType> types;
};

// Throws Error(kInvalidModel) with JSON path and value, kUnsupported.
TekkenModel parse_tekken(std::string_view file, Warnings& warnings);

}  // namespace stretto::hf
