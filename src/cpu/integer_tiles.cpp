// Block-format weights times 8-bit activations on any instruction set: a block's codes are unpacked to bytes, then
// multiplied in 16-bit lanes. x86 with AVX2 and later has its own kernels in x86_tiles.cpp.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/integer_tiles.cpp"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

#include "cpu/kernels.h"
#include "formats/formats.h"

HWY_BEFORE_NAMESPACE();
namespace stretto::cpu {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// sum over i < n of a[i] * b[i]; n a multiple of 16.
HWY_INLINE int32_t dot_bytes(const int8_t* a, const int8_t* b, uint64_t n) {
#if HWY_TARGET == HWY_SCALAR
  int32_t sum = 0;
  for (uint64_t i = 0; i < n; ++i) sum += a[i] * b[i];
  return sum;
#else
  const hn::FixedTag<int8_t, 8> d8;
  const hn::FixedTag<int16_t, 8> d16;
  const hn::FixedTag<int32_t, 4> d32;
  auto sum0 = hn::Zero(d32), sum1 = hn::Zero(d32);
  for (uint64_t i = 0; i < n; i += 8) {
    const auto wide_a = hn::PromoteTo(d16, hn::LoadU(d8, a + i));
    const auto wide_b = hn::PromoteTo(d16, hn::LoadU(d8, b + i));
    sum0 = hn::ReorderWidenMulAccumulate(d32, wide_a, wide_b, sum0, sum1);
  }
  return hn::GetLane(hn::SumOfLanes(d32, hn::Add(sum0, sum1)));
#endif
}

// total[t] += the products of one block with each of the vectors.
template <class F>
HWY_INLINE void add_block(const typename F::Block& block, const ActivationView* x, int n_vectors, uint64_t first,
                          float* total) {
  constexpr uint64_t kGroups = F::kBlockElements / F::kGroup;
  HWY_ALIGN int8_t c[F::kBlockElements];
  float d[kGroups], m[kGroups];
  F::codes(block, c);
  F::scales(block, d, m);
  for (int t = 0; t < n_vectors; ++t) {
    for (uint64_t g = 0; g < kGroups; ++g) {
      const uint64_t start = first + g * F::kGroup;
      const int32_t products = dot_bytes(c + g * F::kGroup, x[t].q + start, F::kGroup);
      total[t] += d[g] * x[t].scale[start / kActivationBlock] * static_cast<float>(products);
      if constexpr (F::kHasMin) total[t] -= m[g] * (F::kGroup == 32 ? x[t].sum : x[t].half_sum)[start / F::kGroup];
    }
  }
}

template <class F>
void integer_tile(const Tile& a) {
  const uint64_t n_blocks = a.n_in / F::kBlockElements;
  const ActivationView x[kTile] = {activation_view(a.x[0], a.n_in), activation_view(a.x[a.n > 1 ? 1 : 0], a.n_in),
                                   activation_view(a.x[a.n > 2 ? 2 : 0], a.n_in),
                                   activation_view(a.x[a.n > 3 ? 3 : 0], a.n_in)};
  for (uint64_t r = 0; r < a.n_rows; ++r) {
    const auto* blocks = as_blocks<F>(a.rows + r * a.row_bytes);
    float total[kTile] = {};
    for (uint64_t b = 0; b < n_blocks; ++b) add_block<F>(blocks[b], x, a.n, b * F::kBlockElements, total);
    for (int t = 0; t < a.n; ++t) a.out[t][r] = total[t];
  }
}

TileKernel integer_kernel(DType type) {
  return visit_format(type, [](auto format) -> TileKernel {
    if constexpr (GroupedFormat<decltype(format)>) {
      return &integer_tile<decltype(format)>;
    } else {
      return nullptr;
    }
  });
}

}  // namespace HWY_NAMESPACE
}  // namespace stretto::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace stretto::cpu {

HWY_EXPORT(integer_kernel);

TileKernel integer_tile_kernel(DType type, const Isa& isa) {
  return kernel_at(HWY_DISPATCH_TABLE(integer_kernel), isa.target)(type);
}

}  // namespace stretto::cpu
#endif  // HWY_ONCE
