// Strings are UTF-8 and indexed by code point, as in Python. A byte that is not part of valid UTF-8 counts as one
// code point (U+FFFD) and is copied as it is.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace stretto::jinja {

struct CodePoint {
  char32_t code;
  size_t n_bytes;  // 1..4
};

// The code point that starts at byte `at` < text.size().
CodePoint decode(std::string_view text, size_t at);
void append_utf8(std::string& out, char32_t code);
bool is_valid_utf8(std::string_view text);

size_t count_code_points(std::string_view text);
// The byte offset of the code point `index`; text.size() if there are not so many.
size_t byte_offset(std::string_view text, size_t index);
// `text` with its code points in reverse order.
std::string reversed(std::string_view text);

// The classes of Python's str methods and of \s and \w in its regular expressions.
bool is_space(char32_t c);
bool is_line_break(char32_t c);
bool is_word(char32_t c);
bool is_printable(char32_t c);
bool is_digit(char32_t c);
bool is_upper(char32_t c);
bool is_lower(char32_t c);
bool is_cased(char32_t c);

// Whether no cased code point of `text` is in the other case, and at least one is in this one.
bool all_upper(std::string_view text);
bool all_lower(std::string_view text);

// Unicode simple case mappings, with the full mappings of the Latin letters whose length changes and of the final
// sigma.
std::string to_upper(std::string_view text);
std::string to_lower(std::string_view text);
// The first code point in title case, the rest in lower case.
std::string to_capitalized(std::string_view text);
// Each run of cased code points capitalised.
std::string to_title(std::string_view text);

// Without the code points at the ends that are white space or, with `chars`, that occur in *chars.
std::string_view strip(std::string_view text, bool left, bool right, const std::string_view* chars = nullptr);

}  // namespace stretto::jinja
