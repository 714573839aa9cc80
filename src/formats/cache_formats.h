// The encodings that a KV cache may have.
#pragma once

#include <tuple>
#include <utility>

#include "base/check.h"
#include "formats/bf16.h"
#include "formats/f16.h"
#include "formats/f32.h"
#include "formats/f8_e4m3.h"
#include "formats/q8_0.h"

namespace stretto {

using CacheFormats = std::tuple<F32, F16, BF16, F8_E4M3, Q8_0>;

constexpr bool is_cache_type(DType type) {
  return
      [&]<class... F>(std::tuple<F...>*) { return ((F::kType == type) || ...); }(static_cast<CacheFormats*>(nullptr));
}

// Types whose rounding shows in results, so that it belongs to what KvAppend is defined as.
constexpr bool is_8_bit_cache_type(DType type) { return type == DType::kF8_E4M3 || type == DType::kQ8_0; }

// f(Format{}) for the format of `type` (CHECKed).
template <size_t I = 0, class F>
decltype(auto) visit_cache_format(DType type, F&& f) {
  using Format = std::tuple_element_t<I, CacheFormats>;
  if constexpr (I + 1 == std::tuple_size_v<CacheFormats>) {
    CHECK(type == Format::kType);
    return std::forward<F>(f)(Format{});
  } else {
    if (type == Format::kType) return std::forward<F>(f)(Format{});
    return visit_cache_format<I + 1>(type, std::forward<F>(f));
  }
}

// x[n] as a cache of this type returns it; n is a multiple of the block (CHECKed).
inline void round_to_cache(DType type, float* x, uint64_t n) {
  visit_cache_format(type, [&](auto format) {
    using F = decltype(format);
    CHECK(n % F::kBlockElements == 0);
    for (uint64_t i = 0; i < n; i += F::kBlockElements) {
      typename F::Block block;
      F::encode(x + i, block);
      F::decode(block, x + i);
    }
  });
}

}  // namespace stretto
