// Attention over a run of the cache: one pass over the keys, a softmax of the scores, one pass over the values.
//
// Keys lie in groups of sixteen positions (cpu/kernels.h): a vector holds the same element of as many positions, so a
// score is one chain of multiply-adds over the elements in order, and nothing is summed across lanes. The queries of up
// to kHeadTile heads share each loaded (and converted) vector of the cache. Parallelism over heads, tokens and runs of
// positions is the caller's.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/attention_kernels.cpp"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

#include <algorithm>

#include "base/check.h"
#include "base/checked.h"
#include "cpu/kernels.h"
#include "cpu/load_cache-inl.h"
#include "hwy/contrib/math/math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace stretto::cpu {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using DF = hn::CappedTag<float, kCacheGroup>;
using VF = hn::Vec<DF>;
constexpr uint64_t kHeadTile = 4;
constexpr uint64_t kLanes = hn::MaxLanes(DF());
constexpr uint64_t kVectors = kCacheGroup / kLanes;  // per group of positions

// The scores of kHeads heads for kGroups groups of positions from scores column j on.
template <class T, int kHeads, int kGroups>
HWY_INLINE void score_groups(const Attend& a, uint64_t first, uint64_t j) {
  const DF d;
  const uint64_t group = a.head_dim * kCacheGroup;
  const T* k = reinterpret_cast<const T*>(a.k) + (a.base() + j) / kCacheGroup * group;
  const float* q = a.q + first * a.head_dim;
  VF acc[kHeads][kGroups * kVectors];
  for (auto& row : acc)
    for (VF& v : row) v = hn::Zero(d);
  for (uint64_t i = 0; i < a.head_dim; ++i, k += kCacheGroup) {
    VF kv[kGroups * kVectors];
    for (uint64_t g = 0; g < kGroups; ++g)
      for (uint64_t n = 0; n < kVectors; ++n) kv[g * kVectors + n] = load_float(d, k + g * group + n * kLanes);
    for (int h = 0; h < kHeads; ++h) {
      const VF one = hn::Set(d, q[static_cast<uint64_t>(h) * a.head_dim + i]);
      for (uint64_t n = 0; n < kGroups * kVectors; ++n) acc[h][n] = hn::MulAdd(one, kv[n], acc[h][n]);
    }
  }
  for (int h = 0; h < kHeads; ++h) {
    float* scores = a.scores + (first + static_cast<uint64_t>(h)) * a.scores_stride() + j;
    for (uint64_t n = 0; n < kGroups * kVectors; ++n)
      hn::StoreU(hn::Mul(acc[h][n], hn::Set(d, a.scale)), d, scores + n * kLanes);
  }
}

template <class T, int kHeads>
void score_heads(const Attend& a, uint64_t first) {
  // Eight chains of multiply-adds hide their latency; registers of fewer lanes hold fewer groups.
  constexpr int kGroups = std::max<int>(1, 8 / kHeads / static_cast<int>(kVectors));
  const uint64_t n = a.scores_stride();
  uint64_t j = 0;
  for (; j + kGroups * kCacheGroup <= n; j += kGroups * kCacheGroup) score_groups<T, kHeads, kGroups>(a, first, j);
  for (; j < n; j += kCacheGroup) score_groups<T, kHeads, 1>(a, first, j);
}

// acc[first + h, i] = sum_j p[first + h, j] * v[j, i] for kHeads heads, kN vectors of elements from `dim` on.
template <class T, int kHeads, int kN>
HWY_INLINE void mix_elements(const Attend& a, uint64_t first, uint64_t dim) {
  const DF d;
  const uint64_t width = cache_width(a.head_dim);
  const float* p = a.scores + first * a.scores_stride() - a.base();
  VF acc[kHeads][kN];
  for (auto& row : acc)
    for (VF& v : row) v = hn::Zero(d);
  const T* v = reinterpret_cast<const T*>(a.v) + a.begin * width + dim;
  for (uint64_t j = a.begin; j < a.end; ++j, v += width) {
    VF vv[kN];
    for (uint64_t n = 0; n < kN; ++n) vv[n] = load_float(d, v + n * kLanes);
    for (int h = 0; h < kHeads; ++h) {
      const VF weight = hn::Set(d, p[static_cast<uint64_t>(h) * a.scores_stride() + j]);
      for (int n = 0; n < kN; ++n) acc[h][n] = hn::MulAdd(weight, vv[n], acc[h][n]);
    }
  }
  for (int h = 0; h < kHeads; ++h) {
    float* out = a.result + (first + static_cast<uint64_t>(h)) * partial_width(a.head_dim) + dim;
    for (uint64_t n = 0; n < kN; ++n) hn::StoreU(acc[h][n], d, out + n * kLanes);
  }
}

template <class T, int kHeads>
void mix_heads(const Attend& a, uint64_t first) {
  // As wide as the registers allow, so that the values are read in few ascending streams: with 32 registers of 16 lanes
  // in one for two heads of 128 elements.
  constexpr int kNarrow = kHeads >= 4 ? 2 : 4, kN = kLanes == kCacheGroup ? 2 * kNarrow : kNarrow;
  const uint64_t width = cache_width(a.head_dim);
  uint64_t dim = 0;
  for (; dim + kN * kLanes <= width; dim += kN * kLanes) mix_elements<T, kHeads, kN>(a, first, dim);
  for (; dim < width; dim += kLanes) mix_elements<T, kHeads, 1>(a, first, dim);
}

// scores -> exp(scores - top), with the maximum and the sum into the result of the head. Sixteen partial sums, by
// position modulo 16, are added in a tree: attention_block.cpp does the same.
void soften(const Attend& a, uint64_t head) {
  const DF d;
  const uint64_t n = a.scores_stride();
  float* s = a.scores + head * n;
  std::fill(s, s + (a.begin - a.base()), kUnseen);
  std::fill(s + (a.end - a.base()), s + n, kUnseen);
  VF top = hn::Set(d, kUnseen);
  for (uint64_t j = 0; j < n; j += kLanes) top = hn::Max(top, hn::LoadU(d, s + j));
  const VF most = hn::MaxOfLanes(d, top);
  VF sums[kVectors];
  for (VF& v : sums) v = hn::Zero(d);
  for (uint64_t j = 0; j < n; j += kCacheGroup)
    for (uint64_t i = 0; i < kVectors; ++i) {
      const VF e = hn::Exp(d, hn::Sub(hn::LoadU(d, s + j + i * kLanes), most));
      hn::StoreU(e, d, s + j + i * kLanes);
      sums[i] = hn::Add(sums[i], e);
    }
  float sum[kCacheGroup];
  for (uint64_t i = 0; i < kVectors; ++i) hn::StoreU(sums[i], d, sum + i * kLanes);
  for (uint64_t half = kCacheGroup / 2; half > 0; half /= 2)
    for (uint64_t i = 0; i < half; ++i) sum[i] += sum[i + half];
  float* result = a.result + head * partial_width(a.head_dim) + cache_width(a.head_dim);
  result[0] = hn::GetLane(most);
  result[1] = sum[0];
}

template <class T>
void score(const Attend& a) {
  uint64_t h = 0;
  for (; h + kHeadTile <= a.n_heads; h += kHeadTile) score_heads<T, kHeadTile>(a, h);
  for (; h + 2 <= a.n_heads; h += 2) score_heads<T, 2>(a, h);
  for (; h < a.n_heads; ++h) score_heads<T, 1>(a, h);
  for (h = 0; h < a.n_heads; ++h) soften(a, h);
}

template <class T>
void mix(const Attend& a) {
  uint64_t h = 0;
  for (; h + kHeadTile <= a.n_heads; h += kHeadTile) mix_heads<T, kHeadTile>(a, h);
  for (; h + 2 <= a.n_heads; h += 2) mix_heads<T, 2>(a, h);
  for (; h < a.n_heads; ++h) mix_heads<T, 1>(a, h);
}

template <class T>
void attend(const Attend& a) {
  score<T>(a);
  mix<T>(a);
}

// The run becomes floats first, keys and then values in the same place: what 8-bit caches save is memory, and the
// arithmetic of their decoding is shared by all heads.
template <class F>
void attend_decoded(const Attend& a) {
  const uint64_t group = a.head_dim * kCacheGroup;
  Attend f = a;
  f.begin -= a.base();
  f.end -= a.base();
  f.k = f.v = reinterpret_cast<const std::byte*>(a.decoded);
  CacheReader<F>::keys(a.k, a.base() / kCacheGroup, a.scores_stride() / kCacheGroup, a.head_dim, a.decoded,
                       {.group = group, .element = kCacheGroup});
  score<float>(f);
  CacheReader<F>::values(a.v, a.base(), f.end, cache_width(a.head_dim), a.decoded);
  mix<float>(f);
}

void store_f32(const float* x, uint64_t n, std::byte* out) { std::memcpy(out, x, n * sizeof(float)); }

// To binary16, to nearest even. Where the machine has no such instruction the scalar conversion does it.
void store_f16(const float* x, uint64_t n, std::byte* out) {
  uint64_t i = 0;
#if HWY_TARGET == HWY_AVX2 || HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_NEON
  const DF d;
  const hn::Rebind<hwy::float16_t, DF> half;
  for (; i + kLanes <= n; i += kLanes)
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

void store_f8(const float* x, uint64_t n, std::byte* out) {
  for (uint64_t i = 0; i < n; ++i) F8_E4M3::encode(x + i, as_blocks<F8_E4M3>(out)[i]);
}

void store_q8(const float* x, uint64_t n, std::byte* out) {
  for (uint64_t i = 0; i < n / Q8_0::kBlockElements; ++i)
    Q8_0::encode(x + i * Q8_0::kBlockElements, as_blocks<Q8_0>(out)[i]);
}

AttentionKernels make_attention_kernels(DType type) {
  switch (type) {
    case DType::kF32:
      return {&attend<float>, nullptr, &store_f32};
    case DType::kF16:
      return {&attend<hwy::float16_t>, nullptr, &store_f16};
    case DType::kF8_E4M3:
      return {&attend_decoded<F8_E4M3>, nullptr, &store_f8};
    case DType::kQ8_0:
      return {&attend_decoded<Q8_0>, nullptr, &store_q8};
    default:
      return {&attend<hwy::bfloat16_t>, nullptr, &store_bf16};
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
  AttentionKernels kernels = kernel_at(HWY_DISPATCH_TABLE(make_attention_kernels), isa.target)(cache_type);
  kernels.attend_block = attend_block_kernel(cache_type, isa);
  return kernels;
}

}  // namespace stretto::cpu
#endif  // HWY_ONCE
