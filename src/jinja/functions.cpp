#include "jinja/functions.h"

#include <ctime>

#include "jinja/access.h"
#include "jinja/filters.h"
#include "jinja/print.h"

namespace stretto::jinja {
namespace {

Value range(Runtime& runtime, const Value&, const Arguments& arguments) {
  const Bound bound("range", arguments, {"start", "stop", "step"}, 1);
  const bool has_start = bound.find(1) != nullptr;
  const Int start = has_start ? bound.integer(0, 0) : Int(0);
  const Int stop = has_start ? bound.integer(1, 0) : bound.integer(0, 0);
  const Int step = bound.integer(2, 1);
  if (step == 0) render_fail("range: the step must not be zero");
  const Int distance = step > 0 ? stop - start : start - stop;
  const Int stride = step > 0 ? step : -step;
  const Int count = distance <= 0 ? Int(0) : (distance + stride - 1) / stride;
  if (count > runtime.limits().max_range) {
    render_fail("a range of {} items is longer than {} (max_range)", count, runtime.limits().max_range);
  }
  std::vector<Value> items;
  items.reserve(static_cast<size_t>(count));
  for (Int i = 0; i < count; ++i) items.push_back(Value::integer(start + i * step));
  return runtime.list_of(std::move(items));
}

// The entries of a dict, or pairs.
void add_entries(Runtime& runtime, Dict& dict, const Value& source, std::string_view user) {
  if (source.is_dict()) {
    for (const auto& [key, value] : source.as_dict().entries) runtime.put(dict, key, value);
    return;
  }
  for (const Value& pair : iterate(runtime, source, user)) {
    const std::vector<Value> parts = iterate(runtime, pair, user);
    if (parts.size() != 2) render_fail("{} needs pairs, not {} values", user, parts.size());
    runtime.put(dict, parts[0], parts[1]);
  }
}

void fill(Runtime& runtime, Dict& dict, const Arguments& arguments, std::string_view user) {
  if (arguments.positional.size() > 1) {
    render_fail("{} takes one argument without a name, {} given", user, arguments.positional.size());
  }
  if (!arguments.positional.empty()) add_entries(runtime, dict, arguments.positional[0], user);
  for (const auto& [name, value] : arguments.named) runtime.put(dict, Value::string(name), value);
}

Value dict(Runtime& runtime, const Value&, const Arguments& arguments) {
  Dict& made = runtime.new_dict();
  fill(runtime, made, arguments, "dict");
  return Value::dict(&made);
}

Value name_space(Runtime& runtime, const Value&, const Arguments& arguments) {
  Namespace& made = runtime.new_namespace();
  fill(runtime, made.attributes, arguments, "namespace");
  return Value::name_space(&made);
}

Value raise_exception(Runtime& runtime, const Value&, const Arguments& arguments) {
  const Bound bound("raise_exception", arguments, {"message"}, 1);
  throw RenderFailure(print(runtime, bound[0]));
}

std::tm local_time(const RenderOptions& options) {
  if (options.now) return options.now();
  const std::time_t now = std::time(nullptr);
  std::tm local{};
  localtime_r(&now, &local);
  return local;
}

Value strftime_now(Runtime& runtime, const Value&, const Arguments& arguments) {
  const Bound bound("strftime_now", arguments, {"format"}, 1);
  // The mark at the end tells an empty result from one that does not fit.
  const std::string format = std::string(bound.text(0, "")) + '.';
  if (format.find('\0') != std::string::npos) render_fail("strftime_now: the format has a NUL byte");
  const std::tm now = local_time(runtime.options());
  std::array<char, 4096> buffer;
  const size_t size = std::strftime(buffer.data(), buffer.size(), format.c_str(), &now);
  if (size == 0) render_fail("strftime_now: the result is longer than {} bytes", buffer.size());
  return runtime.text(std::string(buffer.data(), buffer[size - 1] == '.' ? size - 1 : size));
}

constexpr Function kFunctions[] = {
    {"range", range},
    {"dict", dict},
    {"namespace", name_space},
    {"raise_exception", raise_exception},
    {"strftime_now", strftime_now},
};

}  // namespace

const Function* find_function(std::string_view name) { return find_by_name(kFunctions, name); }

}  // namespace stretto::jinja
