// The tokenizer.json files of tests/data/tokjson and small ones made in memory.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "text/hf_tokenizer.h"

namespace stretto {

std::string read_tokjson(const std::string& name);  // text of a file below tests/data/tokjson
Json parse_tokjson(const std::string& name);        // the same as JSON, which may be large
std::vector<std::string> tokjson_pipelines();       // names of the directories, sorted

std::unique_ptr<const Tokenizer> make_hf_tokenizer_from(std::string tokenizer_json);

// A minimal tokenizer.json over the letters a to z with a few merges; tests change single keys.
Json small_tokenizer_json();

}  // namespace stretto
