// Truth, equality and order of values, as Python defines them.
#pragma once

#include <compare>
#include <string_view>

#include "jinja/runtime.h"

namespace stretto::jinja {

bool is_true(const Value& v);

// Deep; 1 == 1.0 == true, undefined only equals undefined.
bool equal(Runtime& runtime, const Value& a, const Value& b);

// Numbers with numbers, strings with strings (by code point), lists with lists, tuples with tuples; else fails, naming
// `operation`. NaN is unordered.
std::partial_ordering order(Runtime& runtime, const Value& a, const Value& b, std::string_view operation);

// `item in container`.
bool contains(Runtime& runtime, const Value& container, const Value& item);

// Sorts keys stably, optionally in descending order (equal keys keep their order); returns the places of the sorted
// keys in `keys`. Fails where order() does.
std::vector<size_t> sorted_places(Runtime& runtime, const std::vector<Value>& keys, bool reverse);

}  // namespace stretto::jinja
