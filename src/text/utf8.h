// UTF-8 on byte strings: strict decoding (no overlong forms, no surrogates, nothing above U+10FFFF) and the repairs
// that tokenizers and JSON output need.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace stretto {

inline constexpr std::string_view kReplacementCharacter = "\xEF\xBF\xBD";  // U+FFFD

// Bytes of the well-formed code point that starts at text[at] (1..4), or 0 if none does. at < text.size().
size_t utf8_length_at(std::string_view text, size_t at);

// The code point of the well-formed sequence text[at, at + length).
char32_t utf8_code_point(std::string_view text, size_t at, size_t length);

void append_utf8(std::string& out, char32_t code_point);

// `text` itself when it is valid; otherwise a copy in `storage` with U+FFFD for every byte at which no well-formed code
// point starts (one byte each: E2 82 41 becomes FFFD FFFD 41).
std::string_view sanitise_utf8(std::string_view text, std::string& storage);

// A copy with U+FFFD for each maximal subpart of an ill-formed sequence (Unicode 15, section 3.9, U+FFFD substitution:
// E2 82 41 becomes FFFD 41), as JSON writers and other decoders do it.
std::string replace_invalid_utf8(std::string_view text);

// Length of the longest prefix that does not end inside a sequence which further bytes could complete:
// text.size() - 3 .. text.size().
size_t complete_utf8_prefix(std::string_view text);

}  // namespace stretto
