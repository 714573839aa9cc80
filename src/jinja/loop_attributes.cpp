#include "jinja/loop_attributes.h"

#include "jinja/arguments.h"
#include "jinja/compare.h"

namespace stretto::jinja {
namespace {

Value cycle(Runtime&, const Value& input, const Arguments& arguments) {
  if (arguments.positional.empty() || !arguments.named.empty()) render_fail("loop.cycle needs values to choose from");
  return arguments.positional[input.as_loop().index0 % arguments.positional.size()];
}

Value changed(Runtime& runtime, const Value& input, const Arguments& arguments) {
  Loop& loop = input.as_loop();
  const Value now = runtime.list_of(arguments.positional, true);
  const bool is_changed = loop.last_changed.is_none() || !equal(runtime, loop.last_changed, now);
  loop.last_changed = now;
  return Value::boolean(is_changed);
}

Value method(Runtime& runtime, const Value& loop, std::string_view name, Native function) {
  Callable& bound = runtime.new_callable(name);
  bound.native = function;
  bound.input = loop;
  return Value::callable(&bound);
}

size_t length(Loop& loop) {
  while (loop.has(loop.accepted.size())) {
  }
  return loop.accepted.size();
}

}  // namespace

std::optional<Value> loop_attribute(Runtime& runtime, const Value& v, std::string_view name) {
  Loop& loop = v.as_loop();
  const size_t at = loop.index0;
  const auto count = [](size_t n) { return Value::integer(static_cast<Int>(n)); };
  if (name == "index") return count(at + 1);
  if (name == "index0") return count(at);
  if (name == "first") return Value::boolean(at == 0);
  if (name == "last") return Value::boolean(!loop.has(at + 1));
  if (name == "length") return count(length(loop));
  if (name == "revindex") return Value::integer(static_cast<Int>(length(loop)) - static_cast<Int>(at));
  if (name == "revindex0") return Value::integer(static_cast<Int>(length(loop)) - static_cast<Int>(at) - 1);
  if (name == "previtem" && at > 0) return loop.accepted[at - 1];
  if (name == "nextitem" && loop.has(at + 1)) return loop.accepted[at + 1];
  if (name == "depth") return count(loop.depth0 + 1);
  if (name == "depth0") return count(loop.depth0);
  if (name == "cycle") return method(runtime, v, "cycle", cycle);
  if (name == "changed") return method(runtime, v, "changed", changed);
  return std::nullopt;
}

}  // namespace stretto::jinja
