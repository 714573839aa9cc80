// UTF-8 validity of names that come from files.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace stretto {

// Well-formed per RFC 3629: no overlong forms, no surrogates, nothing above U+10FFFF.
bool is_valid_utf8(std::string_view text);

// `text` for a message or a table: control characters and bytes that are not UTF-8 become \xNN, and what exceeds
// max_bytes is cut off and marked "...".
std::string printable(std::string_view text, size_t max_bytes = 80);

}  // namespace stretto
