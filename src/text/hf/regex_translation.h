// Regular expressions of tokenizer.json, written for Oniguruma, as PCRE2 patterns with the same matches.
//
// What differs between the two: \s, \h, \v, \w, \b, $ and ^, caseless letters, {n,m}+, {,n}, nested and intersected
// classes, the names of options, and the Unicode version (the additions of text/hf/characters.h are written out).
#pragma once

#include <string>
#include <string_view>

namespace stretto::hf {

inline constexpr size_t kMaxPatternBytes = size_t{16} << 10;

// For PCRE2_UTF | PCRE2_UCP with LF as newline. `pattern` is valid UTF-8; `path` names its place in messages.
// Throws Error: kUnsupported for whatever is not known to mean the same, kInvalidModel for a broken pattern.
std::string translate_regex(std::string_view pattern, std::string_view path);

}  // namespace stretto::hf
