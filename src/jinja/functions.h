// The functions that every template can call.
#pragma once

#include <string_view>

#include "jinja/arguments.h"
#include "jinja/runtime.h"

namespace stretto::jinja {

struct Function {
  std::string_view name;
  Native function;
};

// range, dict, namespace, raise_exception, strftime_now; null for other names.
const Function* find_function(std::string_view name);

}  // namespace stretto::jinja
