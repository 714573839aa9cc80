// Values as Python prints them.
#pragma once

#include <string>

#include "jinja/runtime.h"

namespace stretto::jinja {

// repr(float): the shortest digits that read back as the same number; "inf", "nan".
std::string print_float(double v);

// str(v). Undefined is empty, strings are themselves, lists and dicts print their items as repr does.
std::string print(Runtime& runtime, const Value& v);
// The same as a value; a string is not copied.
Text print_text(Runtime& runtime, const Value& v);
// repr(v): strings quoted.
std::string print_quoted(Runtime& runtime, const Value& v);

}  // namespace stretto::jinja
