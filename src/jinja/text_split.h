// Cutting strings into parts.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace stretto::jinja {

// Occurrences of a string of at least one byte, found in linear time; npos if there is none at or after `from`.
size_t find_text(std::string_view text, std::string_view part, size_t from = 0);
// The last occurrence that ends at or before `end`.
size_t find_last_text(std::string_view text, std::string_view part, size_t end);

// `text` with `from` replaced by `to`, at most `limit` times; an empty `from` stands before each code point and at the
// end.
std::string replaced(std::string_view text, std::string_view from, std::string_view to, size_t limit);

// str.splitlines: at \n, \r\n, \r and Python's other line breaks; no empty part at the end.
std::vector<std::string_view> split_lines(std::string_view text, bool keep_ends = false);

}  // namespace stretto::jinja
