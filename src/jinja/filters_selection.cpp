#include "jinja/access.h"
#include "jinja/compare.h"
#include "jinja/filters.h"

namespace stretto::jinja {
namespace {

// The arguments from `first` on.
Arguments rest_of(const Arguments& arguments, size_t first) {
  Arguments rest;
  rest.positional.assign(arguments.positional.begin() + static_cast<std::ptrdiff_t>(first), arguments.positional.end());
  rest.named = arguments.named;
  return rest;
}

std::string_view name_argument(std::string_view filter, const Arguments& arguments, size_t i) {
  if (!arguments.positional[i].is_string()) {
    render_fail("{}: the name of a filter or test must be a string, not {}", filter,
                type_name(arguments.positional[i]));
  }
  return arguments.positional[i].view();
}

const Value* named(const Arguments& arguments, std::string_view name) {
  for (const auto& [have, value] : arguments.named) {
    if (have->bytes == name) return &value;
  }
  return nullptr;
}

Value map_attribute(Runtime& runtime, const Value& input, const Arguments& arguments) {
  for (const auto& [name, value] : arguments.named) {
    if (name->bytes != "attribute" && name->bytes != "default") render_fail("map has no argument '{}'", name->bytes);
  }
  const Value* fallback = named(arguments, "default");
  if (fallback != nullptr && fallback->is_none()) fallback = nullptr;
  const AttributePath path(runtime, *named(arguments, "attribute"), fallback);
  List& mapped = runtime.new_list();
  for (const Value& item : iterate(runtime, input, "map")) runtime.push(mapped, path.read(item));
  return Value::list(&mapped);
}

Value map(Runtime& runtime, const Value& input, const Arguments& arguments) {
  if (!is_true(input)) return Value::list(&runtime.new_list());
  if (arguments.positional.empty()) {
    if (named(arguments, "attribute") == nullptr) render_fail("map needs the name of a filter or an attribute");
    return map_attribute(runtime, input, arguments);
  }
  const std::string_view name = name_argument("map", arguments, 0);
  const Filter* filter = find_filter(name);
  if (filter == nullptr) render_fail("there is no filter '{}'", name);
  const Arguments rest = rest_of(arguments, 1);
  const Runtime::Level level(runtime);  // map('map', 'map', ...)
  List& mapped = runtime.new_list();
  for (const Value& item : iterate(runtime, input, "map")) runtime.push(mapped, filter->function(runtime, item, rest));
  return Value::list(&mapped);
}

// The items of which the test named by argument `first` (without one: their truth) is `wanted`. With `path`, the test
// is applied to that attribute.
Value select_items(Runtime& runtime, const Value& input, const Arguments& arguments, std::string_view filter,
                   size_t first, const AttributePath* path, bool wanted) {
  if (!is_true(input)) return Value::list(&runtime.new_list());
  const Test* test = nullptr;
  Arguments rest;
  if (arguments.positional.size() > first) {
    const std::string_view name = name_argument(filter, arguments, first);
    test = find_test(name);
    if (test == nullptr) render_fail("there is no test '{}'", name);
    rest = rest_of(arguments, first + 1);
  }
  List& kept = runtime.new_list();
  for (const Value& item : iterate(runtime, input, filter)) {
    runtime.spend();
    const Value value = path == nullptr ? item : path->read(item);
    const bool passes = test == nullptr ? is_true(value) : test->function(runtime, value, rest);
    if (passes == wanted) runtime.push(kept, item);
  }
  return Value::list(&kept);
}

Value select(Runtime& runtime, const Value& input, const Arguments& arguments) {
  return select_items(runtime, input, arguments, "select", 0, nullptr, true);
}

Value reject(Runtime& runtime, const Value& input, const Arguments& arguments) {
  return select_items(runtime, input, arguments, "reject", 0, nullptr, false);
}

Value select_by_attribute(Runtime& runtime, const Value& input, const Arguments& arguments, std::string_view filter,
                          bool wanted) {
  if (arguments.positional.empty()) render_fail("{} needs the name of an attribute", filter);
  const AttributePath path(runtime, arguments.positional[0], nullptr);
  return select_items(runtime, input, arguments, filter, 1, &path, wanted);
}

Value selectattr(Runtime& runtime, const Value& input, const Arguments& arguments) {
  return select_by_attribute(runtime, input, arguments, "selectattr", true);
}

Value rejectattr(Runtime& runtime, const Value& input, const Arguments& arguments) {
  return select_by_attribute(runtime, input, arguments, "rejectattr", false);
}

Value attr(Runtime& runtime, const Value& input, const Arguments& arguments) {
  const Bound bound("attr", arguments, {"name"}, 1);
  if (!bound[0].is_string()) render_fail("attr: the name must be a string, not {}", type_name(bound[0]));
  return only_attribute(runtime, input, bound[0].as_text());
}

constexpr Filter kFilters[] = {
    {"map", map},   {"select", select}, {"reject", reject}, {"selectattr", selectattr}, {"rejectattr", rejectattr},
    {"attr", attr},
};

}  // namespace

const Filter* find_selection_filter(std::string_view name) { return find_by_name(kFilters, name); }

}  // namespace stretto::jinja
