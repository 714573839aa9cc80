// Methods of strings, dicts and lists.
#pragma once

#include <string_view>

#include "jinja/arguments.h"
#include "jinja/value.h"

namespace stretto::jinja {

struct Method {
  std::string_view name;
  Native function;
};

// The method `name` of v; null if it has none.
const Method* find_method(const Value& v, std::string_view name);

// The parts of find_method, each over one type.
const Method* find_string_method(std::string_view name);
const Method* find_list_method(std::string_view name);  // tuples too
// Python's other dict methods are there as well, and fail when called: `d.copy` must not read the key "copy".
const Method* find_dict_method(std::string_view name);

// str.replace, at most `limit` times.
Value replace_text(Runtime& runtime, std::string_view text, std::string_view from, std::string_view to, uint64_t limit);

// str.format(*args, **kwargs).
Value format_text(Runtime& runtime, const Value& input, const Arguments& arguments);

}  // namespace stretto::jinja
