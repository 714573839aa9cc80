// What templates read from `loop`.
#pragma once

#include <optional>
#include <string_view>

#include "jinja/runtime.h"

namespace stretto::jinja {

// index, index0, first, last, length, revindex, revindex0, previtem, nextitem, depth, depth0, cycle, changed.
std::optional<Value> loop_attribute(Runtime& runtime, const Value& loop, std::string_view name);

}  // namespace stretto::jinja
