// Arguments of a call and their binding to parameters.
#pragma once

#include <array>
#include <initializer_list>
#include <string_view>
#include <utility>
#include <vector>

#include "jinja/value.h"

namespace stretto::jinja {

struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<Text, Value>> named;

  // Fails, naming `function`, if there are named ones: many of Python's methods take none.
  const Arguments& without_names(std::string_view function) const;
};

// The arguments of one call in the order of its parameters.
class Bound {
 public:
  static constexpr size_t kMaxParameters = 6;

  // Fails, naming `function`, when there are too many arguments, an unknown or repeated one, or fewer than the first
  // `n_required`. `arguments` must outlive this.
  Bound(std::string_view function, const Arguments& arguments, std::initializer_list<std::string_view> names,
        size_t n_required = 0);

  // Null if not given.
  const Value* find(size_t i) const { return values_[i]; }
  // The i-th, which was required.
  const Value& operator[](size_t i) const { return *values_[i]; }

  // The i-th as a type; the fallback if not given. Fail, naming the parameter, for another type.
  bool flag(size_t i, bool fallback) const;  // the truth of any value
  Int integer(size_t i, Int fallback) const;
  std::string_view text(size_t i, std::string_view fallback) const;
  // Null for none or not given.
  const Value* find_not_none(size_t i) const;

 private:
  std::string_view function_;
  std::array<std::string_view, kMaxParameters> names_;
  std::array<const Value*, kMaxParameters> values_{};
};

}  // namespace stretto::jinja
