#include "jinja/access.h"
#include "jinja/compare.h"
#include "jinja/filters.h"
#include "jinja/methods.h"
#include "jinja/runtime.h"

namespace stretto::jinja {
namespace {

Value items(Runtime& runtime, const Value& input, const Arguments& arguments) {
  const Bound bound("items", arguments, {});
  List& pairs = runtime.new_list();
  for (const auto& [key, value] : input.as_dict().entries) runtime.push(pairs, runtime.list_of({key, value}, true));
  return Value::list(&pairs);
}

Value keys(Runtime& runtime, const Value& input, const Arguments& arguments) {
  const Bound bound("keys", arguments, {});
  return runtime.list_of(iterate(runtime, input, "keys"));
}

Value values(Runtime& runtime, const Value& input, const Arguments& arguments) {
  const Bound bound("values", arguments, {});
  List& list = runtime.new_list();
  for (const auto& entry : input.as_dict().entries) runtime.push(list, entry.second);
  return Value::list(&list);
}

Value get(Runtime& runtime, const Value& input, const Arguments& arguments) {
  const Bound bound("get", arguments.without_names("get"), {"key", "default"}, 1);
  runtime.spend();
  if (!is_hashable(bound[0])) render_fail("a {} cannot be a key", type_name(bound[0]));
  if (const Value* found = input.as_dict().find(bound[0])) return *found;
  return bound.find(1) == nullptr ? Value::none() : bound[1];
}

Value unsupported(Runtime&, const Value&, const Arguments&) {
  render_fail("dicts of templates have the methods items, keys, values and get only");
}

// Bounds of list.index: negative ones count from the end, and what is beyond is cut off.
size_t list_bound(const Value* v, size_t size, size_t fallback) {
  if (v == nullptr) return fallback;
  if (!v->is_integral()) render_fail("the bounds of a search must be integers, not {}", type_name(*v));
  const Int at = v->as_integer() < 0 ? v->as_integer() + Int(size) : v->as_integer();
  return at < 0 ? 0 : at > Int(size) ? size : static_cast<size_t>(at);
}

Value index(Runtime& runtime, const Value& input, const Arguments& arguments) {
  const Bound bound("index", arguments.without_names("index"), {"value", "start", "stop"}, 1);
  const auto& list = input.as_list().items;
  const size_t end = list_bound(bound.find(2), list.size(), list.size());
  for (size_t i = list_bound(bound.find(1), list.size(), 0); i < end; ++i) {
    if (equal(runtime, list[i], bound[0])) return Value::integer(static_cast<Int>(i));
  }
  render_fail("index: the value is not in the list");
}

Value count(Runtime& runtime, const Value& input, const Arguments& arguments) {
  const Bound bound("count", arguments.without_names("count"), {"value"}, 1);
  Int n = 0;
  for (const Value& item : input.as_list().items) n += equal(runtime, item, bound[0]) ? 1 : 0;
  return Value::integer(n);
}

List& changeable(const Value& input, std::string_view method) {
  if (input.as_list().is_tuple) render_fail("a tuple has no method '{}'", method);
  return input.as_list();
}

Value append(Runtime& runtime, const Value& input, const Arguments& arguments) {
  const Bound bound("append", arguments.without_names("append"), {"value"}, 1);
  runtime.push(changeable(input, "append"), bound[0]);
  return Value::none();
}

Value extend(Runtime& runtime, const Value& input, const Arguments& arguments) {
  const Bound bound("extend", arguments.without_names("extend"), {"iterable"}, 1);
  List& list = changeable(input, "extend");
  for (Value& item : iterate(runtime, bound[0], "extend")) runtime.push(list, std::move(item));
  return Value::none();
}

Value pop(Runtime& runtime, const Value& input, const Arguments& arguments) {
  const Bound bound("pop", arguments.without_names("pop"), {"index"});
  auto& list = changeable(input, "pop").items;
  runtime.spend(1 + list.size() / 16);
  Int at = bound.integer(0, -1);
  if (at < 0) at += Int(list.size());
  if (at < 0 || at >= Int(list.size())) render_fail("pop: index out of range, the list has {} items", list.size());
  const auto place = list.begin() + static_cast<std::ptrdiff_t>(at);
  Value taken = std::move(*place);
  list.erase(place);
  return taken;
}

constexpr Method kDictMethods[] = {
    {"items", items},          {"keys", keys},
    {"values", values},        {"get", get},
    {"clear", unsupported},    {"copy", unsupported},
    {"fromkeys", unsupported}, {"pop", unsupported},
    {"popitem", unsupported},  {"setdefault", unsupported},
    {"update", unsupported},
};

constexpr Method kListMethods[] = {
    {"index", index}, {"count", count}, {"append", append}, {"extend", extend}, {"pop", pop},
};

}  // namespace

const Method* find_method(const Value& v, std::string_view name) {
  if (v.is_string()) return find_string_method(name);
  if (v.is_dict()) return find_dict_method(name);
  if (v.is_list()) return find_list_method(name);
  return nullptr;
}

const Method* find_dict_method(std::string_view name) { return find_by_name(kDictMethods, name); }

const Method* find_list_method(std::string_view name) { return find_by_name(kListMethods, name); }

}  // namespace stretto::jinja
