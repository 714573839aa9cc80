// Numbers written in strings, as Python's int() and float() read them.
#pragma once

#include <optional>
#include <string_view>

#include "jinja/value.h"

namespace stretto::jinja {

// Optional white space, sign, prefix of the base (0x, 0o, 0b; base 0 takes any) and single underscores between digits.
// Nullopt if it is no integer; fails beyond 64 bits.
std::optional<Int> parse_integer(std::string_view text, int base);

// Also "inf", "infinity" and "nan" in any case.
std::optional<double> parse_float(std::string_view text);

}  // namespace stretto::jinja
