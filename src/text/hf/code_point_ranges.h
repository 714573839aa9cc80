// Sets of code points as ascending ranges.
#pragma once

#include <algorithm>
#include <iterator>

namespace stretto::hf {

struct Range {
  char32_t first;
  char32_t last;
};

template <class Ranges>
bool contains(const Ranges& ranges, char32_t c) {
  const auto after = std::upper_bound(std::begin(ranges), std::end(ranges), c,
                                      [](char32_t value, const Range& range) { return value < range.first; });
  return after != std::begin(ranges) && c <= (after - 1)->last;
}

}  // namespace stretto::hf
