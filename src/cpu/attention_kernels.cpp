// Attention over a run of the cache: one pass over the keys, a softmax of the scores, one pass over the values.
//
// The queries of up to kHeadTile heads share each loaded (and converted) row of the cache. Parallelism over heads,
// tokens and runs of positions is the caller's.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/attention_kernels.cpp"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

#include <algorithm>

#include "base/check.h"
#include "base/checked.h"
#include "cpu/kernels.h"
#include "cpu/load_float-inl.h"
#include "hwy/contrib/math/math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace stretto::cpu {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using DF = hn::ScalableTag<float>;
using VF = hn::Vec<DF>;
constexpr uint64_t kHeadTile = 4;

HWY_INLINE uint64_t scores_stride(const Attend& a) { return round_up(a.n_positions, 64); }

// The scores of kHeads heads at positions j .. j + kPositions - 1: one chain of multiply-adds for each of them.
template <class T, int kHeads, int kPositions>
HWY_INLINE void score_positions(const Attend& a, uint64_t first, uint64_t j) {
  const DF d;
  const uint64_t lanes = hn::Lanes(d), n_full = a.head_dim / lanes * lanes;
  const float* q = a.q + first * a.head_dim;
  float* scores = a.scores + first * scores_stride(a) + j;
  const T* k[kPositions];
  VF acc[kPositions][kHeads];
  for (int p = 0; p < kPositions; ++p) {
    k[p] = reinterpret_cast<const T*>(a.k + (j + static_cast<uint64_t>(p)) * a.stride_bytes);
    for (int h = 0; h < kHeads; ++h) acc[p][h] = hn::Zero(d);
  }
  for (uint64_t i = 0; i < n_full; i += lanes) {
    VF qv[kHeads];
    for (int h = 0; h < kHeads; ++h) qv[h] = hn::LoadU(d, q + static_cast<uint64_t>(h) * a.head_dim + i);
    for (int p = 0; p < kPositions; ++p) {
      const VF kv = load_float(d, k[p] + i);
      for (int h = 0; h < kHeads; ++h) acc[p][h] = hn::MulAdd(kv, qv[h], acc[p][h]);
    }
  }
  for (int p = 0; p < kPositions; ++p)
    for (int h = 0; h < kHeads; ++h) {
      float sum = hn::GetLane(hn::SumOfLanes(d, acc[p][h]));
      for (uint64_t i = n_full; i < a.head_dim; ++i)
        sum += load_one(k[p] + i) * q[static_cast<uint64_t>(h) * a.head_dim + i];
      scores[static_cast<uint64_t>(h) * scores_stride(a) + static_cast<uint64_t>(p)] = a.scale * sum;
    }
}

// scores[first + h, j] = scale * q[first + h] . k[j] for kHeads heads.
template <class T, int kHeads>
void score_heads(const Attend& a, uint64_t first) {
  constexpr int kPositions = kHeads >= 4 ? 2 : 4;
  uint64_t j = 0;
  for (; j + kPositions <= a.n_positions; j += kPositions) score_positions<T, kHeads, kPositions>(a, first, j);
  for (; j < a.n_positions; ++j) score_positions<T, kHeads, 1>(a, first, j);
}

// acc[first + h, i] = sum_j p[first + h, j] * v[j, i] for one vector of dimensions at a time, kHeads heads.
template <class T, int kHeads, int kVectors>
HWY_INLINE void mix_dimensions(const Attend& a, uint64_t first, uint64_t dim) {
  const DF d;
  const uint64_t lanes = hn::Lanes(d);
  const float* p = a.scores + first * scores_stride(a);
  VF acc[kHeads][kVectors];
  for (int h = 0; h < kHeads; ++h)
    for (int n = 0; n < kVectors; ++n) acc[h][n] = hn::Zero(d);
  for (uint64_t j = 0; j < a.n_positions; ++j) {
    const T* v = reinterpret_cast<const T*>(a.v + j * a.stride_bytes) + dim;
    VF vv[kVectors];
    for (int n = 0; n < kVectors; ++n) vv[n] = load_float(d, v + static_cast<uint64_t>(n) * lanes);
    for (int h = 0; h < kHeads; ++h) {
      const VF weight = hn::Set(d, p[static_cast<uint64_t>(h) * scores_stride(a) + j]);
      for (int n = 0; n < kVectors; ++n) acc[h][n] = hn::MulAdd(weight, vv[n], acc[h][n]);
    }
  }
  for (int h = 0; h < kHeads; ++h) {
    float* out = a.result + (first + static_cast<uint64_t>(h)) * a.result_stride + 2 + dim;
    for (int n = 0; n < kVectors; ++n) hn::StoreU(acc[h][n], d, out + static_cast<uint64_t>(n) * lanes);
  }
}

template <class T, int kHeads>
void mix_heads(const Attend& a, uint64_t first) {
  const uint64_t lanes = hn::Lanes(DF());
  constexpr int kVectors = kHeads >= 4 ? 2 : 4;
  uint64_t dim = 0;
  for (; dim + kVectors * lanes <= a.head_dim; dim += kVectors * lanes)
    mix_dimensions<T, kHeads, kVectors>(a, first, dim);
  for (; dim + lanes <= a.head_dim; dim += lanes) mix_dimensions<T, kHeads, 1>(a, first, dim);
  for (; dim < a.head_dim; ++dim)
    for (uint64_t h = first; h < first + kHeads; ++h) {
      float sum = 0;
      for (uint64_t j = 0; j < a.n_positions; ++j)
        sum +=
            a.scores[h * scores_stride(a) + j] * load_one(reinterpret_cast<const T*>(a.v + j * a.stride_bytes) + dim);
      a.result[h * a.result_stride + 2 + dim] = sum;
    }
}

// scores -> exp(scores - max), with the maximum and the sum into the result of the head.
void soften(const Attend& a, uint64_t head) {
  const DF d;
  const uint64_t lanes = hn::Lanes(d), n = a.n_positions, padded = round_up(n, lanes);
  float* s = a.scores + head * scores_stride(a);
  // The tail is filled with a score whose exponential is 0 (Highway's Exp flushes below -104).
  for (uint64_t j = n; j < padded; ++j) s[j] = -1e30f;
  VF top = hn::Set(d, s[0]);
  for (uint64_t j = 0; j < padded; j += lanes) top = hn::Max(top, hn::LoadU(d, s + j));
  const VF most = hn::MaxOfLanes(d, top);
  VF sum = hn::Zero(d);
  for (uint64_t j = 0; j < padded; j += lanes) {
    const VF e = hn::Exp(d, hn::Sub(hn::LoadU(d, s + j), most));
    hn::StoreU(e, d, s + j);
    sum = hn::Add(sum, e);
  }
  a.result[head * a.result_stride] = hn::GetLane(most);
  a.result[head * a.result_stride + 1] = hn::GetLane(hn::SumOfLanes(d, sum));
}

template <class T>
void attend(const Attend& a) {
  uint64_t h = 0;
  for (; h + kHeadTile <= a.n_heads; h += kHeadTile) score_heads<T, kHeadTile>(a, h);
  for (; h + 2 <= a.n_heads; h += 2) score_heads<T, 2>(a, h);
  for (; h < a.n_heads; ++h) score_heads<T, 1>(a, h);
  for (h = 0; h < a.n_heads; ++h) soften(a, h);
  for (h = 0; h + kHeadTile <= a.n_heads; h += kHeadTile) mix_heads<T, kHeadTile>(a, h);
  for (; h + 2 <= a.n_heads; h += 2) mix_heads<T, 2>(a, h);
  for (; h < a.n_heads; ++h) mix_heads<T, 1>(a, h);
}

void store_f32(const float* x, uint64_t n, std::byte* out) { std::memcpy(out, x, n * sizeof(float)); }

// To binary16, to nearest even. Where the machine has no such instruction the scalar conversion does it.
void store_f16(const float* x, uint64_t n, std::byte* out) {
  uint64_t i = 0;
#if HWY_TARGET == HWY_AVX2 || HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_NEON
  const DF d;
  const hn::Rebind<hwy::float16_t, DF> half;
  for (; i + hn::Lanes(d) <= n; i += hn::Lanes(d))
    hn::StoreU(hn::DemoteTo(half, hn::LoadU(d, x + i)), half, reinterpret_cast<hwy::float16_t*>(out) + i);
#endif
  for (; i < n; ++i) {
    const uint16_t bits = f32_to_f16(x[i]);
    std::memcpy(out + i * sizeof bits, &bits, sizeof bits);
  }
}

void store_bf16(const float* x, uint64_t n, std::byte* out) {
  for (uint64_t i = 0; i < n; ++i) {
    const uint16_t bits = f32_to_bf16(x[i]);
    std::memcpy(out + i * sizeof bits, &bits, sizeof bits);
  }
}

AttentionKernels make_attention_kernels(DType type) {
  switch (type) {
    case DType::kF32:
      return {&attend<float>, &store_f32};
    case DType::kF16:
      return {&attend<hwy::float16_t>, &store_f16};
    default:
      return {&attend<hwy::bfloat16_t>, &store_bf16};
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace stretto::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace stretto::cpu {

HWY_EXPORT(make_attention_kernels);

AttentionKernels attention_kernels(DType cache_type, const Isa& isa) {
  CHECK(is_cache_type(cache_type));
  return kernel_at(HWY_DISPATCH_TABLE(make_attention_kernels), isa.target)(cache_type);
}

}  // namespace stretto::cpu
#endif  // HWY_ONCE
