// JSON from files and requests, read strictly: bounded depth, no duplicate keys, valid UTF-8, integers kept as
// integers. Everything in Stretto that reads JSON reads it through parse_json.
#pragma once

#include <nlohmann/json.hpp>

#include <string>
#include <string_view>

#include "base/error.h"

namespace stretto {

// Keeps the order of keys. Objects are vectors of pairs: iterate over large ones (vocabularies), find() is linear.
using Json = nlohmann::ordered_json;

struct JsonOptions {
  int max_depth = 64;              // nested objects and arrays
  size_t max_values = 10'000'000;  // of any kind, in the whole text: bounds the memory that a hostile text can take
  // An integer literal outside 64 bits is an error, or (true) becomes the nearest double. tokenizer_config.json files
  // hold model_max_length = int(1e30).
  bool wide_integers_as_double = false;
  // Accept the literals NaN, Infinity and -Infinity that Python's json module writes into config.json.
  bool python_constants = false;
  ErrorKind error_kind = ErrorKind::kInvalidModel;  // kBadArgument for requests
};

// `where` names the source in messages ("config.json"). Throws Error(options.error_kind) with the byte offset.
// Literals without sign, fraction and exponent are number_unsigned; with a minus sign number_integer; others doubles.
Json parse_json(std::string_view text, std::string_view where, const JsonOptions& options = {});

// Never throws: bytes that are not UTF-8 are replaced by U+FFFD. indent < 0: one line.
std::string dump_json(const Json& value, int indent = -1);

}  // namespace stretto
