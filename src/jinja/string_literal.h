// The inside of a quoted string of a template.
#pragma once

#include <string>
#include <string_view>

namespace stretto::jinja {

// Resolves Python's escapes: \n \t \r \\ \' \" \a \b \f \v, \xHH, \uXXXX, \UXXXXXXXX, up to three octal digits,
// backslash and line end (nothing). Other escapes stay as they are. False, with the reason, for escapes cut short and
// for numbers that are no Unicode scalar value.
bool decode_string_literal(std::string_view inside, std::string& out, std::string& error);

}  // namespace stretto::jinja
