// JSON to values and back.
#pragma once

#include <nlohmann/json.hpp>

#include <string>
#include <string_view>

#include "jinja/runtime.h"

namespace stretto::jinja {

Value from_json(Runtime& runtime, const nlohmann::ordered_json& json);

struct JsonStyle {
  bool multiline = false;   // items on lines of their own; empty containers stay [] and {}
  std::string indentation;  // of one level, with multiline
  std::string_view item_separator = ", ";
  std::string_view key_separator = ": ";
  bool ensure_ascii = false;
  bool sort_keys = false;
};

// As Python's json.dumps: the escapes \" \\ \n \r \t \b \f and \u00XX below 0x20, floats as repr, NaN and Infinity.
// Fails for undefined and for functions.
std::string to_json(Runtime& runtime, const Value& v, const JsonStyle& style);

}  // namespace stretto::jinja
