// Writes tekken.json files.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"

namespace stretto {

std::string base64(std::string_view bytes);

// tokens[rank] are byte strings; Mistral's expression; no list of special tokens.
Json tekken_json(const std::vector<std::string>& tokens, int n_special);

}  // namespace stretto
