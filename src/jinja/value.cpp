#include "jinja/value.h"

#include <cmath>

namespace stretto::jinja {
namespace {

// Groups of keys that can be equal to each other.
int key_class(const Value& v) {
  switch (v.type()) {
    case Type::kBool:
    case Type::kInteger:
    case Type::kFloat:
      return 1;
    case Type::kString:
      return 2;
    case Type::kList:
      return 3;
    default:
      return 4 + static_cast<int>(v.type());
  }
}

// long double has the 64 bits of mantissa that integers of templates need; NaN sorts first.
int compare_numbers(const Value& a, const Value& b) {
  const auto wide = [](const Value& v) {
    return v.is_integral() ? static_cast<long double>(v.as_integer()) : static_cast<long double>(v.as_float());
  };
  const long double x = wide(a);
  const long double y = wide(b);
  if (std::isnan(x) || std::isnan(y)) return int(std::isnan(y)) - int(std::isnan(x));
  return x < y ? -1 : int(x > y);
}

const void* identity(const Value& v) {
  switch (v.type()) {
    case Type::kNamespace:
      return &v.as_namespace();
    case Type::kCallable:
      return &v.as_callable();
    case Type::kLoop:
      return &v.as_loop();
    default:
      return nullptr;
  }
}

int compare_keys(const Value& a, const Value& b);

int compare_tuples(const List& a, const List& b) {
  for (size_t i = 0; i < a.items.size() && i < b.items.size(); ++i) {
    const int order = compare_keys(a.items[i], b.items[i]);
    if (order != 0) return order;
  }
  return a.items.size() < b.items.size() ? -1 : int(a.items.size() > b.items.size());
}

int compare_keys(const Value& a, const Value& b) {
  const int class_a = key_class(a);
  const int class_b = key_class(b);
  if (class_a != class_b) return class_a - class_b;
  switch (class_a) {
    case 1:
      return compare_numbers(a, b);
    case 2:
      return a.view().compare(b.view());
    case 3:
      return compare_tuples(a.as_list(), b.as_list());
    default: {
      const std::less<const void*> less;
      return less(identity(a), identity(b)) ? -1 : int(less(identity(b), identity(a)));
    }
  }
}

bool keys_equal(const Value& a, const Value& b) { return compare_keys(a, b) == 0; }
bool keys_equal(const Value& a, std::string_view b) { return a.is_string() && a.view() == b; }

}  // namespace

bool Value::same_as(const Value& other) const {
  if (type() != other.type()) return false;
  switch (type()) {
    case Type::kUndefined:
      return undefined_what() == other.undefined_what();
    case Type::kNone:
      return true;
    case Type::kBool:
      return as_bool() == other.as_bool();
    case Type::kInteger:
      return as_integer() == other.as_integer();
    case Type::kFloat:
      return as_float() == other.as_float();
    case Type::kString:
      return view() == other.view();
    case Type::kList:
      return &as_list() == &other.as_list();
    case Type::kDict:
      return &as_dict() == &other.as_dict();
    default:
      return identity(*this) == identity(other);
  }
}

bool KeyLess::operator()(const Value& a, const Value& b) const { return compare_keys(a, b) < 0; }

bool KeyLess::operator()(const Value& a, std::string_view b) const {
  return a.is_string() ? a.view() < b : key_class(a) < 2;
}

bool KeyLess::operator()(std::string_view a, const Value& b) const {
  return b.is_string() ? a < b.view() : key_class(b) > 2;
}

bool is_hashable(const Value& v) {
  if (v.is_dict()) return false;
  if (!v.is_list()) return true;
  if (!v.as_list().is_tuple) return false;
  for (const Value& item : v.as_list().items) {
    if (item.is_dict() || item.is_list()) return false;
  }
  return true;
}

template <class Key>
size_t Dict::position(const Key& key) const {
  if (!index_.empty()) {
    const auto found = index_.find(key);
    return found == index_.end() ? entries.size() : found->second;
  }
  size_t at = 0;
  while (at < entries.size() && !keys_equal(entries[at].first, key)) ++at;
  return at;
}

const Value* Dict::find(const Value& key) const {
  const size_t at = position(key);
  return at == entries.size() ? nullptr : &entries[at].second;
}

const Value* Dict::find(std::string_view key) const {
  const size_t at = position(key);
  return at == entries.size() ? nullptr : &entries[at].second;
}

bool Dict::set(Value key, Value value) {
  const size_t at = position(key);
  if (at < entries.size()) {
    entries[at].second = std::move(value);
    return false;
  }
  entries.emplace_back(std::move(key), std::move(value));
  if (!index_.empty()) {
    index_.emplace(entries.back().first, at);
  } else if (entries.size() >= kIndexed) {
    for (size_t i = 0; i < entries.size(); ++i) index_.emplace(entries[i].first, i);
  }
  return true;
}

bool Loop::has(size_t index) {
  while (accepted.size() <= index && next < waiting.size() && accepts) {
    Value item = waiting[next++];
    if (accepts(item)) accepted.push_back(std::move(item));
  }
  return index < accepted.size();
}

std::string_view type_name(const Value& v) {
  switch (v.type()) {
    case Type::kUndefined:
      return "undefined";
    case Type::kNone:
      return "none";
    case Type::kBool:
      return "bool";
    case Type::kInteger:
      return "int";
    case Type::kFloat:
      return "float";
    case Type::kString:
      return "str";
    case Type::kList:
      return v.as_list().is_tuple ? "tuple" : "list";
    case Type::kDict:
      return "dict";
    case Type::kNamespace:
      return "namespace";
    case Type::kCallable:
      return "function";
    case Type::kLoop:
      return "loop";
  }
  return "";
}

}  // namespace stretto::jinja
