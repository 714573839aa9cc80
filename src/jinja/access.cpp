#include "jinja/access.h"

#include <algorithm>

#include "jinja/loop_attributes.h"
#include "jinja/unicode.h"

namespace stretto::jinja {
namespace {

Value missing(Runtime& runtime, const Value& key) {
  if (key.is_string()) return Value::undefined(key.as_text());
  return Value::undefined(runtime.text("an item").as_text());
}

[[noreturn]] void fail_undefined(const Value& object, std::string_view read) {
  if (object.undefined_what())
    render_fail("'{}' is undefined: cannot read '{}' of it", object.undefined_what()->bytes, read);
  render_fail("cannot read '{}' of an undefined value", read);
}

std::optional<Value> find_attribute(Runtime& runtime, const Value& object, const Text& name) {
  if (const Method* method = find_method(object, name->bytes)) {
    Callable& bound = runtime.new_callable(method->name);
    bound.native = method->function;
    bound.input = object;
    return Value::callable(&bound);
  }
  if (object.type() == Type::kNamespace) {
    if (const Value* found = object.as_namespace().attributes.find(name->bytes)) return *found;
  }
  if (object.type() == Type::kLoop) return loop_attribute(runtime, object, name->bytes);
  if (object.is_list() && object.as_list().is_group) {
    if (name->bytes == "grouper") return object.as_list().items[0];
    if (name->bytes == "list") return object.as_list().items[1];
  }
  return std::nullopt;
}

std::optional<Value> find_item(Runtime& runtime, const Value& object, const Value& key) {
  if (object.is_dict()) {
    if (!is_hashable(key)) return std::nullopt;
    const Value* found = object.as_dict().find(key);
    return found == nullptr ? std::nullopt : std::optional<Value>(*found);
  }
  if (!key.is_integral()) return std::nullopt;
  Int index = key.as_integer();
  if (object.is_list()) {
    const auto& items = object.as_list().items;
    if (index < 0) index += items.size();
    if (index < 0 || index >= items.size()) return std::nullopt;
    return items[static_cast<size_t>(index)];
  }
  if (!object.is_string()) return std::nullopt;
  const std::string_view text = object.view();
  if (index >= text.size() || -index > text.size()) return std::nullopt;  // before counting: each has a byte
  runtime.spend_bytes(text.size());
  if (index < 0) index += count_code_points(text);
  if (index < 0) return std::nullopt;
  const size_t at = byte_offset(text, static_cast<size_t>(index));
  if (at == text.size()) return std::nullopt;
  return runtime.text(std::string(text.substr(at, decode(text, at).n_bytes)));
}

struct Range {
  Int first;
  Int step;
  size_t count;
};

// Python's slice.indices.
Range slice_range(size_t size, const Value& start, const Value& stop, const Value& step) {
  for (const Value* v : {&start, &stop, &step}) {
    if (!v->is_none() && !v->is_integral()) render_fail("slice bounds must be integers, not {}", type_name(*v));
  }
  const Int by = step.is_none() ? Int(1) : step.as_integer();
  if (by == 0) render_fail("the step of a slice must not be zero");
  const Int low = by > 0 ? 0 : -1;
  const Int high = by > 0 ? Int(size) : Int(size) - 1;
  const auto place = [&](const Value& v, Int fallback) {
    if (v.is_none()) return fallback;
    const Int at = v.as_integer();
    return std::clamp(at < 0 ? at + Int(size) : at, low, high);
  };
  const Int first = place(start, by > 0 ? low : high);
  const Int end = place(stop, by > 0 ? high : low);
  const Int distance = by > 0 ? end - first : first - end;
  const Int stride = by > 0 ? by : -by;
  return {first, by, distance <= 0 ? 0 : static_cast<size_t>((distance + stride - 1) / stride)};
}

std::string slice_text(std::string_view text, size_t size, const Range& range) {
  if (range.step == 1) {
    const size_t begin = byte_offset(text, static_cast<size_t>(range.first));
    return std::string(text.substr(begin, byte_offset(text.substr(begin), range.count)));
  }
  std::vector<size_t> offsets;
  offsets.reserve(size);
  for (size_t i = 0; i < text.size(); i += decode(text, i).n_bytes) offsets.push_back(i);
  std::string out;
  Int at = range.first;
  for (size_t i = 0; i < range.count; ++i, at += range.step) {
    const size_t offset = offsets[static_cast<size_t>(at)];
    out.append(text, offset, decode(text, offset).n_bytes);
  }
  return out;
}

}  // namespace

Value attribute(Runtime& runtime, const Value& object, const Text& name) {
  if (object.is_undefined()) fail_undefined(object, name->bytes);
  if (auto found = find_attribute(runtime, object, name)) return *std::move(found);
  if (object.is_dict()) {
    if (const Value* found = object.as_dict().find(name->bytes)) return *found;
  }
  return Value::undefined(name);
}

Value item(Runtime& runtime, const Value& object, const Value& key) {
  if (object.is_undefined()) fail_undefined(object, key.is_string() ? key.view() : "an item");
  if (auto found = find_item(runtime, object, key)) return *std::move(found);
  if (key.is_string()) {
    if (auto found = find_attribute(runtime, object, key.as_text())) return *std::move(found);
  }
  return missing(runtime, key);
}

Value only_attribute(Runtime& runtime, const Value& object, const Text& name) {
  if (object.is_undefined()) fail_undefined(object, name->bytes);
  if (auto found = find_attribute(runtime, object, name)) return *std::move(found);
  return Value::undefined(name);
}

Value slice(Runtime& runtime, const Value& object, const Value& start, const Value& stop, const Value& step) {
  if (object.is_string()) {
    const std::string_view text = object.view();
    runtime.spend_bytes(text.size());
    const size_t size = count_code_points(text);
    return runtime.text(slice_text(text, size, slice_range(size, start, stop, step)));
  }
  if (!object.is_list()) render_fail("a {} cannot be sliced", type_name(object));
  const List& list = object.as_list();
  const Range range = slice_range(list.items.size(), start, stop, step);
  runtime.spend(range.count);
  std::vector<Value> items;
  items.reserve(range.count);
  Int at = range.first;
  for (size_t i = 0; i < range.count; ++i, at += range.step) items.push_back(list.items[static_cast<size_t>(at)]);
  return runtime.list_of(std::move(items), list.is_tuple);
}

std::vector<Value> iterate(Runtime& runtime, const Value& v, std::string_view user) {
  std::vector<Value> items;
  switch (v.type()) {
    case Type::kUndefined:
      break;
    case Type::kString:
      for (size_t i = 0; i < v.view().size();) {
        const size_t n_bytes = decode(v.view(), i).n_bytes;
        items.push_back(runtime.text(std::string(v.view().substr(i, n_bytes))));
        i += n_bytes;
      }
      break;
    case Type::kList:
      runtime.spend(v.as_list().items.size());
      items = v.as_list().items;
      break;
    case Type::kDict:
      runtime.spend(v.as_dict().entries.size());
      for (const auto& entry : v.as_dict().entries) items.push_back(entry.first);
      break;
    default:
      render_fail("{}: a {} has no items to go through", user, type_name(v));
  }
  return items;
}

bool is_iterable(const Value& v) { return v.is_undefined() || v.is_string() || v.is_list() || v.is_dict(); }

size_t length(const Value& v) {
  switch (v.type()) {
    case Type::kUndefined:
      return 0;
    case Type::kString:
      return count_code_points(v.view());
    case Type::kList:
      return v.as_list().items.size();
    case Type::kDict:
      return v.as_dict().entries.size();
    default:
      render_fail("a {} has no length", type_name(v));
  }
}

AttributePath::AttributePath(Runtime& runtime, const Value& path, const Value* fallback)
    : runtime_(runtime), fallback_(fallback) {
  if (path.is_integral()) {
    parts_.push_back(path);
    return;
  }
  if (!path.is_string()) render_fail("an attribute is named by a string or an integer, not by a {}", type_name(path));
  std::string_view rest = path.view();
  while (true) {
    const size_t dot = rest.find('.');
    const std::string_view part = rest.substr(0, dot);
    const bool is_index =
        !part.empty() && part.size() <= 18 && part.find_first_not_of("0123456789") == std::string_view::npos;
    parts_.push_back(is_index ? Value::integer(std::stoll(std::string(part))) : runtime.text(std::string(part)));
    if (dot == std::string_view::npos) break;
    rest.remove_prefix(dot + 1);
  }
}

Value AttributePath::read(const Value& v) const {
  Value at = v;
  for (const Value& part : parts_) {
    at = item(runtime_, at, part);
    if (fallback_ != nullptr && at.is_undefined()) at = *fallback_;
  }
  return at;
}

}  // namespace stretto::jinja
