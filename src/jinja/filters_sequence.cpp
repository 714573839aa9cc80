#include <algorithm>
#include <set>

#include "jinja/access.h"
#include "jinja/arithmetic.h"
#include "jinja/compare.h"
#include "jinja/filters.h"
#include "jinja/print.h"
#include "jinja/sort_keys.h"
#include "jinja/unicode.h"

namespace stretto::jinja {
namespace {

Value length_filter(Runtime& runtime, const Value& input, const Arguments& arguments) {
  const Bound bound("length", arguments, {});
  if (input.is_string()) runtime.spend_bytes(input.view().size());
  return Value::integer(static_cast<Int>(length(input)));
}

Value list(Runtime& runtime, const Value& input, const Arguments& arguments) {
  const Bound bound("list", arguments, {});
  return runtime.list_of(iterate(runtime, input, "list"));
}

Value items(Runtime& runtime, const Value& input, const Arguments& arguments) {
  const Bound bound("items", arguments, {});
  List& pairs = runtime.new_list();
  if (input.is_undefined()) return Value::list(&pairs);
  if (!input.is_dict()) render_fail("items needs a dict, not {}", type_name(input));
  for (const auto& [key, value] : input.as_dict().entries) {
    runtime.push(pairs, runtime.list_of({key, value}, true));
  }
  return Value::list(&pairs);
}

Value first(Runtime& runtime, const Value& input, const Arguments& arguments) {
  static const Text kWhat = make_text("the first item of an empty sequence");
  const Bound bound("first", arguments, {});
  const std::vector<Value> all = iterate(runtime, input, "first");
  return all.empty() ? Value::undefined(kWhat) : all.front();
}

Value last(Runtime& runtime, const Value& input, const Arguments& arguments) {
  static const Text kWhat = make_text("the last item of an empty sequence");
  const Bound bound("last", arguments, {});
  const std::vector<Value> all = iterate(runtime, input, "last");
  return all.empty() ? Value::undefined(kWhat) : all.back();
}

Value reverse(Runtime& runtime, const Value& input, const Arguments& arguments) {
  const Bound bound("reverse", arguments, {});
  if (input.is_string()) return runtime.text(reversed(input.view()));
  std::vector<Value> all = iterate(runtime, input, "reverse");
  std::reverse(all.begin(), all.end());
  return runtime.list_of(std::move(all));
}

Value join(Runtime& runtime, const Value& input, const Arguments& arguments) {
  const Bound bound("join", arguments, {"d", "attribute"});
  const Text separator = bound.find(0) == nullptr ? make_text("") : print_text(runtime, bound[0]);
  std::vector<Value> all = iterate(runtime, input, "join");
  if (const Value* attribute = bound.find_not_none(1)) {
    const AttributePath path(runtime, *attribute, nullptr);
    for (Value& item : all) item = path.read(item);
  }
  uint64_t size = 0;
  std::vector<Text> parts;
  for (const Value& item : all) {
    parts.push_back(print_text(runtime, item));
    size += parts.back()->bytes.size() + separator->bytes.size();
  }
  runtime.hold(size);  // before the memory is taken: the same part may occur many times
  std::string out;
  for (size_t i = 0; i < parts.size(); ++i) {
    if (i > 0) out += separator->bytes;
    out += parts[i]->bytes;
  }
  runtime.release(size);
  return runtime.text(std::move(out));
}

Value sort(Runtime& runtime, const Value& input, const Arguments& arguments) {
  const Bound bound("sort", arguments, {"reverse", "case_sensitive", "attribute"});
  const std::vector<Value> all = iterate(runtime, input, "sort");
  const std::vector<Value> keys = sort_keys(runtime, all, bound.find_not_none(2), bound.flag(1, false));
  std::vector<Value> sorted;
  for (const size_t place : sorted_places(runtime, keys, bound.flag(0, false))) sorted.push_back(all[place]);
  return runtime.list_of(std::move(sorted));
}

Value dictsort(Runtime& runtime, const Value& input, const Arguments& arguments) {
  const Bound bound("dictsort", arguments, {"case_sensitive", "by", "reverse"});
  const std::string_view by = bound.text(1, "key");
  if (by != "key" && by != "value") render_fail("dictsort: by must be 'key' or 'value', not '{}'", by);
  if (!input.is_dict()) render_fail("dictsort needs a dict, not {}", type_name(input));
  const auto& entries = input.as_dict().entries;
  std::vector<Value> all;
  for (const auto& [key, value] : entries) all.push_back(by == "key" ? key : value);
  const std::vector<Value> keys = item_keys(runtime, all, nullptr, bound.flag(0, false));
  List& sorted = runtime.new_list();
  for (const size_t place : sorted_places(runtime, keys, bound.flag(2, false))) {
    runtime.push(sorted, runtime.list_of({entries[place].first, entries[place].second}, true));
  }
  return Value::list(&sorted);
}

Value unique(Runtime& runtime, const Value& input, const Arguments& arguments) {
  const Bound bound("unique", arguments, {"case_sensitive", "attribute"});
  const std::vector<Value> all = iterate(runtime, input, "unique");
  const std::vector<Value> keys = item_keys(runtime, all, bound.find_not_none(1), bound.flag(0, false));
  std::set<Value, KeyLess> seen;
  List& kept = runtime.new_list();
  for (size_t i = 0; i < all.size(); ++i) {
    if (!is_hashable(keys[i])) render_fail("unique: a {} cannot be compared", type_name(keys[i]));
    if (seen.insert(keys[i]).second) runtime.push(kept, all[i]);
  }
  return Value::list(&kept);
}

Value extreme(Runtime& runtime, const Value& input, const Arguments& arguments, bool wants_max) {
  static const Text kWhat = make_text("the extreme of an empty sequence");
  const std::string_view name = wants_max ? "max" : "min";
  const Bound bound(name, arguments, {"case_sensitive", "attribute"});
  const std::vector<Value> all = iterate(runtime, input, name);
  if (all.empty()) return Value::undefined(kWhat);
  const std::vector<Value> keys = item_keys(runtime, all, bound.find_not_none(1), bound.flag(0, false));
  size_t best = 0;
  for (size_t i = 1; i < all.size(); ++i) {
    const bool is_better =
        wants_max ? order(runtime, keys[i], keys[best], ">") > 0 : order(runtime, keys[i], keys[best], "<") < 0;
    if (is_better) best = i;
  }
  return all[best];
}

Value min(Runtime& runtime, const Value& input, const Arguments& arguments) {
  return extreme(runtime, input, arguments, false);
}

Value max(Runtime& runtime, const Value& input, const Arguments& arguments) {
  return extreme(runtime, input, arguments, true);
}

Value sum(Runtime& runtime, const Value& input, const Arguments& arguments) {
  const Bound bound("sum", arguments, {"attribute", "start"});
  std::vector<Value> all = iterate(runtime, input, "sum");
  Value total = bound.find(1) == nullptr ? Value::integer(0) : bound[1];
  if (total.is_string()) render_fail("sum does not add strings; use join");
  const Value* attribute = bound.find_not_none(0);
  for (Value& item : all) {
    if (attribute != nullptr) item = AttributePath(runtime, *attribute, nullptr).read(item);
    total = apply(runtime, BinaryOp::kAdd, total, item);
  }
  return total;
}

Value batch(Runtime& runtime, const Value& input, const Arguments& arguments) {
  const Bound bound("batch", arguments, {"linecount", "fill_with"}, 1);
  const Int size = bound.integer(0, 0);
  const Value* fill = bound.find_not_none(1);
  List& rows = runtime.new_list();
  std::vector<Value> row;
  for (const Value& item : iterate(runtime, input, "batch")) {
    if (Int(row.size()) == size) runtime.push(rows, runtime.list_of(std::exchange(row, {})));
    row.push_back(item);
  }
  if (row.empty()) return Value::list(&rows);
  if (fill != nullptr && size > Int(row.size())) {
    if (size > runtime.limits().max_range)
      render_fail("batch: {} columns are more than {}", size, runtime.limits().max_range);
    row.resize(static_cast<size_t>(size), *fill);
  }
  runtime.push(rows, runtime.list_of(std::move(row)));
  return Value::list(&rows);
}

Value groupby(Runtime& runtime, const Value& input, const Arguments& arguments) {
  const Bound bound("groupby", arguments, {"attribute", "default", "case_sensitive"}, 1);
  const bool case_sensitive = bound.flag(2, false);
  const AttributePath path(runtime, bound[0], bound.find_not_none(1));
  const std::vector<Value> all = iterate(runtime, input, "groupby");
  std::vector<Value> groupers;
  for (const Value& item : all) groupers.push_back(path.read(item));
  const std::vector<Value> keys = item_keys(runtime, groupers, nullptr, case_sensitive);
  List& groups = runtime.new_list();
  const Value* open_key = nullptr;
  for (const size_t place : sorted_places(runtime, keys, false)) {
    if (open_key == nullptr || !equal(runtime, *open_key, keys[place])) {
      const Value members = Value::list(&runtime.new_list());
      const Value group = runtime.list_of({groupers[place], members}, true);
      group.as_list().is_group = true;
      runtime.push(groups, group);
      open_key = &keys[place];
    }
    runtime.push(groups.items.back().as_list().items[1].as_list(), all[place]);
  }
  return Value::list(&groups);
}

constexpr Filter kFilters[] = {
    {"length", length_filter},
    {"count", length_filter},
    {"list", list},
    {"items", items},
    {"first", first},
    {"last", last},
    {"reverse", reverse},
    {"join", join},
    {"sort", sort},
    {"dictsort", dictsort},
    {"unique", unique},
    {"min", min},
    {"max", max},
    {"sum", sum},
    {"batch", batch},
    {"groupby", groupby},
};

}  // namespace

const Filter* find_sequence_filter(std::string_view name) { return find_by_name(kFilters, name); }

}  // namespace stretto::jinja
