// Weights stored as F32, F16 or BF16 times float32 vectors, accumulated in float32 lanes.
//
// A register tile of kRowTile rows by n <= kTile vectors, one vector accumulator per (row, vector): enough independent
// chains to hide the latency of the multiply-add, and the same order of additions in every tile shape.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/float_tiles.cpp"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

#include "base/half.h"
#include "cpu/kernels.h"
#include "cpu/load_float-inl.h"

HWY_BEFORE_NAMESPACE();
namespace stretto::cpu {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

template <class T, int kRows, int kN>
void float_dots(const Tile& a, uint64_t first_row) {
  const hn::ScalableTag<float> d;
  const uint64_t lanes = hn::Lanes(d), n_full = a.n_in / lanes * lanes;
  using V = hn::Vec<decltype(d)>;
  V acc[kRows][kN];
  const T* w[kRows];
  const float* x[kN];
  for (int r = 0; r < kRows; ++r) {
    w[r] = reinterpret_cast<const T*>(a.rows + (first_row + static_cast<uint64_t>(r)) * a.row_bytes);
    for (int t = 0; t < kN; ++t) acc[r][t] = hn::Zero(d);
  }
  for (int t = 0; t < kN; ++t) x[t] = reinterpret_cast<const float*>(a.x[t]);
  for (uint64_t i = 0; i < n_full; i += lanes) {
    V xv[kN];
    for (int t = 0; t < kN; ++t) xv[t] = hn::LoadU(d, x[t] + i);
    for (int r = 0; r < kRows; ++r) {
      const V wv = load_float(d, w[r] + i);
      for (int t = 0; t < kN; ++t) acc[r][t] = hn::MulAdd(wv, xv[t], acc[r][t]);
    }
  }
  for (int r = 0; r < kRows; ++r)
    for (int t = 0; t < kN; ++t) {
      float sum = hn::GetLane(hn::SumOfLanes(d, acc[r][t]));
      for (uint64_t i = n_full; i < a.n_in; ++i) sum += load_one(w[r] + i) * x[t][i];
      a.out[t][first_row + static_cast<uint64_t>(r)] = sum;
    }
}

template <class T, int kN>
void float_rows(const Tile& a) {
  constexpr uint64_t kRowTile = 4;
  uint64_t r = 0;
  for (; r + kRowTile <= a.n_rows; r += kRowTile) float_dots<T, kRowTile, kN>(a, r);
  for (; r < a.n_rows; ++r) float_dots<T, 1, kN>(a, r);
}

template <class T>
void float_tile(const Tile& a) {
  switch (a.n) {
    case 1:
      return float_rows<T, 1>(a);
    case 2:
      return float_rows<T, 2>(a);
    case 3:
      return float_rows<T, 3>(a);
    default:
      return float_rows<T, 4>(a);
  }
}

void tile_f32(const Tile& a) { float_tile<float>(a); }
void tile_f16(const Tile& a) { float_tile<hwy::float16_t>(a); }
void tile_bf16(const Tile& a) { float_tile<hwy::bfloat16_t>(a); }

}  // namespace HWY_NAMESPACE
}  // namespace stretto::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace stretto::cpu {

HWY_EXPORT(tile_f32);
HWY_EXPORT(tile_f16);
HWY_EXPORT(tile_bf16);

TileKernel float_tile_kernel(DType type, const Isa& isa) {
  switch (type) {
    case DType::kF32:
      return kernel_at(HWY_DISPATCH_TABLE(tile_f32), isa.target);
    case DType::kF16:
      return kernel_at(HWY_DISPATCH_TABLE(tile_f16), isa.target);
    case DType::kBF16:
      return kernel_at(HWY_DISPATCH_TABLE(tile_bf16), isa.target);
    default:
      return nullptr;
  }
}

}  // namespace stretto::cpu
#endif  // HWY_ONCE
