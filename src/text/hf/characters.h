// Character classes as the tokenizers library has them: Unicode 16, on top of the tables of utf8proc (Unicode 15 in
// version 2.8) and of PCRE2 (Unicode 14 in version 10.42).
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace stretto::hf {

// White_Space, the 25 code points, as text for a PCRE2 bracket expression. PCRE2's \s has U+180E too.
inline constexpr std::string_view kWhiteSpaceRanges =
    R"(\x09-\x0D\x20\x85\xA0\x{1680}\x{2000}-\x{200A}\x{2028}\x{2029}\x{202F}\x{205F}\x{3000})";

// What Unicode 15 and 16 added to \p{property}, as text for a PCRE2 bracket expression; nullopt for a property whose
// additions are not known here. Known: L Lu Ll Lt Lm Lo M N Nd P S Z.
std::optional<std::string_view> added_to_property(std::string_view property);

bool is_white_space(char32_t c);
bool is_combining_mark(char32_t c);  // category M of an older Unicode: normalizer StripAccents
bool is_numeric(char32_t c);         // category N: pre-tokenizer Digits
bool is_punctuation(char32_t c);     // ASCII punctuation or category P of an older Unicode: pre-tokenizer Punctuation
// Letters, marks, decimal digits, letter numbers, connectors and what else added tokens and Whitespace call a word.
bool is_word(char32_t c);
// Upper, lower or title case, or part of what such a letter folds to: not the same under every idea of "caseless".
bool has_case(char32_t c);

// Appends the full lower-case form of one character (no context: no final sigma; U+0130 becomes i U+0307).
void append_lower(std::string& out, char32_t c);

}  // namespace stretto::hf
