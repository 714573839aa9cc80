#include "jinja/compare.h"

#include <cstring>
#include <numeric>

namespace stretto::jinja {
namespace {

std::partial_ordering order_numbers(const Value& a, const Value& b) {
  if (a.is_integral() && b.is_integral()) {
    const Int x = a.as_integer();
    const Int y = b.as_integer();
    return x < y   ? std::partial_ordering::less
           : x > y ? std::partial_ordering::greater
                   : std::partial_ordering::equivalent;
  }
  // 64 bits of mantissa: exact for every integer of a template.
  const auto wide = [](const Value& v) {
    return v.is_integral() ? static_cast<long double>(v.as_integer()) : static_cast<long double>(v.as_float());
  };
  return wide(a) <=> wide(b);
}

class Comparison {
 public:
  explicit Comparison(Runtime& runtime) : runtime_(runtime) {}

  bool equal(const Value& a, const Value& b, uint32_t depth) {
    runtime_.spend();
    if (a.is_numeric() && b.is_numeric()) return order_numbers(a, b) == std::partial_ordering::equivalent;
    if (a.type() != b.type()) return false;
    runtime_.check_value_depth(depth);
    switch (a.type()) {
      case Type::kUndefined:
        return true;
      case Type::kString:
        if (a.view().size() != b.view().size()) return false;
        runtime_.spend_bytes(a.view().size());
        return a.view() == b.view();
      case Type::kList:
        return a.as_list().is_tuple == b.as_list().is_tuple && equal_lists(a.as_list(), b.as_list(), depth);
      case Type::kDict:
        return equal_dicts(a.as_dict(), b.as_dict(), depth);
      default:
        return a.same_as(b);
    }
  }

  std::partial_ordering order(const Value& a, const Value& b, std::string_view operation, uint32_t depth) {
    runtime_.spend();
    if (a.is_numeric() && b.is_numeric()) return order_numbers(a, b);
    if (a.is_string() && b.is_string()) {
      runtime_.spend_bytes(std::min(a.view().size(), b.view().size()));
      return a.view().compare(b.view()) <=> 0;
    }
    const bool are_lists = a.is_list() && b.is_list() && a.as_list().is_tuple == b.as_list().is_tuple;
    if (!are_lists) render_fail("'{}' does not work between {} and {}", operation, type_name(a), type_name(b));
    runtime_.check_value_depth(depth);
    const auto& x = a.as_list().items;
    const auto& y = b.as_list().items;
    for (size_t i = 0; i < x.size() && i < y.size(); ++i) {
      if (!equal(x[i], y[i], depth + 1)) return order(x[i], y[i], operation, depth + 1);
    }
    return x.size() <=> y.size();
  }

 private:
  bool equal_lists(const List& a, const List& b, uint32_t depth) {
    if (&a == &b) return true;
    if (a.items.size() != b.items.size()) return false;
    for (size_t i = 0; i < a.items.size(); ++i) {
      if (!equal(a.items[i], b.items[i], depth + 1)) return false;
    }
    return true;
  }
  bool equal_dicts(const Dict& a, const Dict& b, uint32_t depth) {
    if (&a == &b) return true;
    if (a.entries.size() != b.entries.size()) return false;
    for (const auto& [key, value] : a.entries) {
      const Value* other = b.find(key);
      if (other == nullptr || !equal(value, *other, depth + 1)) return false;
    }
    return true;
  }

  Runtime& runtime_;
};

}  // namespace

bool is_true(const Value& v) {
  switch (v.type()) {
    case Type::kUndefined:
    case Type::kNone:
      return false;
    case Type::kBool:
    case Type::kInteger:
      return v.as_integer() != 0;
    case Type::kFloat:
      return v.as_float() != 0;
    case Type::kString:
      return !v.view().empty();
    case Type::kList:
      return !v.as_list().items.empty();
    case Type::kDict:
      return !v.as_dict().entries.empty();
    default:
      return true;
  }
}

bool equal(Runtime& runtime, const Value& a, const Value& b) { return Comparison(runtime).equal(a, b, 0); }

std::partial_ordering order(Runtime& runtime, const Value& a, const Value& b, std::string_view operation) {
  return Comparison(runtime).order(a, b, operation, 0);
}

bool contains(Runtime& runtime, const Value& container, const Value& item) {
  switch (container.type()) {
    case Type::kUndefined:
      return false;
    case Type::kString: {
      if (!item.is_string()) render_fail("'in' looks for a string in a string, not for a {}", type_name(item));
      const std::string_view text = container.view();
      const std::string_view part = item.view();
      runtime.spend_bytes(text.size());
      // memmem takes linear time for every text.
      return part.empty() || memmem(text.data(), text.size(), part.data(), part.size()) != nullptr;
    }
    case Type::kList:
      for (const Value& have : container.as_list().items) {
        if (equal(runtime, have, item)) return true;
      }
      return false;
    case Type::kDict:
      runtime.spend();
      if (!is_hashable(item)) render_fail("a {} cannot be a key", type_name(item));
      return container.as_dict().find(item) != nullptr;
    default:
      render_fail("'in' does not work on a {}", type_name(container));
  }
}

std::vector<size_t> sorted_places(Runtime& runtime, const std::vector<Value>& keys, bool reverse) {
  std::vector<size_t> places(keys.size());
  std::iota(places.begin(), places.end(), size_t{0});
  std::vector<size_t> merged(keys.size());
  // A merge sort of our own: std::stable_sort allows no inconsistent order, and NaN makes one.
  for (size_t width = 1; width < places.size(); width *= 2) {
    for (size_t begin = 0; begin < places.size(); begin += 2 * width) {
      const size_t middle = std::min(begin + width, places.size());
      const size_t end = std::min(begin + 2 * width, places.size());
      size_t left = begin;
      size_t right = middle;
      for (size_t to = begin; to < end; ++to) {
        bool take_right = left == middle;
        if (left < middle && right < end) {
          const auto compared = order(runtime, keys[places[right]], keys[places[left]], "<");
          take_right = reverse ? compared > 0 : compared < 0;
        }
        merged[to] = take_right ? places[right++] : places[left++];
      }
    }
    places.swap(merged);
  }
  return places;
}

}  // namespace stretto::jinja
