// Attention of a block of tokens over a run of the cache, for prefill: two small matrix products.
//
//   scores[j, i] = scale * k[j] . q[i]     positions down, queries across: maxima, sums and masks go down the lanes
//   acc[i, :]    = sum_j p[j, i] v[j, :]
//
// Keys and values become floats once per block of tokens. Every sum has the order that attention_kernels.cpp gives it,
// so a token's result has the same bits in a step of its own and in a block. Parallelism over key/value heads and
// blocks of tokens is the caller's.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/attention_block.cpp"
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
constexpr uint64_t kKeys = AttendBlock::kKeys, kQueryAlign = AttendBlock::kQueryAlign;
constexpr uint64_t kLanes = hn::MaxLanes(DF());

// c[r, n] (+)= sum over k, in order, of a[r * a_row + k * a_k] * b[k, n]
struct Product {
  const float* a;
  uint64_t a_row, a_k;
  const float* b;
  uint64_t b_stride;
  float* c;
  uint64_t c_stride, n_k;
  bool add;
};

template <int kRows, int kN>
HWY_INLINE void multiply_tile(const Product& p, uint64_t row, uint64_t n) {
  const DF d;
  float* const c = p.c + row * p.c_stride + n;
  VF acc[kRows][kN];
  for (uint64_t r = 0; r < kRows; ++r)
    for (uint64_t v = 0; v < kN; ++v) acc[r][v] = p.add ? hn::LoadU(d, c + r * p.c_stride + v * kLanes) : hn::Zero(d);
  const float* a = p.a + row * p.a_row;
  const float* b = p.b + n;
  for (uint64_t k = 0; k < p.n_k; ++k, a += p.a_k, b += p.b_stride) {
    VF bv[kN];
    for (uint64_t v = 0; v < kN; ++v) bv[v] = hn::LoadU(d, b + v * kLanes);
    for (uint64_t r = 0; r < kRows; ++r) {
      const VF one = hn::Set(d, a[r * p.a_row]);
      for (uint64_t v = 0; v < kN; ++v) acc[r][v] = hn::MulAdd(one, bv[v], acc[r][v]);
    }
  }
  for (uint64_t r = 0; r < kRows; ++r)
    for (uint64_t v = 0; v < kN; ++v) hn::StoreU(acc[r][v], d, c + r * p.c_stride + v * kLanes);
}

// n_rows a multiple of 4, width one of 16.
void multiply(const Product& p, uint64_t n_rows, uint64_t width) {
  // Accumulators and one row of b must fit into the registers: 32 of them, or 16.
  constexpr uint64_t kN = HWY_TARGET == HWY_AVX3 ? 4 : 2;
  uint64_t n = 0;
  for (; n + kN * kLanes <= width; n += kN * kLanes)
    for (uint64_t row = 0; row < n_rows; row += 4) multiply_tile<4, kN>(p, row, n);
  for (; n < width; n += kLanes)
    for (uint64_t row = 0; row < n_rows; row += 4) multiply_tile<4, 1>(p, row, n);
}

// The scratch of a block (attend_block_scratch). What is padded is zero.
struct Block {
  const AttendBlock& a;
  const uint64_t n_queries, queries, width, base, n_keys;
  float *q, *keys, *values;  // [head_dim, queries], [head_dim, kKeys], [kKeys, width]
  float* scores;             // [n_keys, queries]
  float *first, *last;       // [queries]: visible positions, relative to base
  float* result;             // [queries, width]

  explicit Block(const AttendBlock& a)
      : a(a),
        n_queries(a.n_tokens * a.n_heads),
        queries(round_up(n_queries, kQueryAlign)),
        width(cache_width(a.head_dim)),
        base(a.begin / kCacheGroup * kCacheGroup),
        n_keys(round_up(a.end - base, kCacheGroup)),
        q(a.scratch),
        keys(q + width * queries),
        values(keys + width * kKeys),
        scores(values + width * kKeys),
        first(scores + n_keys * queries),
        last(first + queries),
        result(last + queries) {}

  void load_queries() {
    std::fill(q, q + width * queries, 0.0F);
    for (uint64_t i = 0; i < queries; ++i) {
      first[i] = 0;
      last[i] = -1;  // padding sees nothing
      if (i >= n_queries) continue;
      const uint64_t token = i / a.n_heads, end = a.position + token + 1;
      const float* x = a.q + token * a.q_stride + i % a.n_heads * a.head_dim;
      for (uint64_t n = 0; n < a.head_dim; ++n) q[n * queries + i] = x[n];
      const auto from = a.window != 0 && end > a.window ? static_cast<int64_t>(end - a.window) : 0;
      first[i] = static_cast<float>(from - static_cast<int64_t>(base));
      last[i] = static_cast<float>(static_cast<int64_t>(end) - 1 - static_cast<int64_t>(base));
    }
  }

  // n keys, a multiple of 16, from column j on: transposed already, in groups.
  template <class T>
  void load_keys(uint64_t j, uint64_t n) const {
    CacheReader<T>::keys(a.k, (base + j) / kCacheGroup, n / kCacheGroup, a.head_dim, keys,
                         {.group = kCacheGroup, .element = kKeys});
  }

  template <class T>
  void load_values(uint64_t j, uint64_t n) const {
    CacheReader<T>::values(a.v, base + j, n, width, values);
  }

  template <class T>
  void score() {
    for (uint64_t j = 0; j < n_keys; j += kKeys) {
      const uint64_t n = std::min(kKeys, n_keys - j);
      load_keys<T>(j, n);
      multiply({.a = keys,
                .a_row = 1,
                .a_k = kKeys,
                .b = q,
                .b_stride = queries,
                .c = scores + j * queries,
                .c_stride = queries,
                .n_k = a.head_dim,
                .add = false},
               n, queries);
    }
  }

  // scores -> exp(scale * scores - top), top and sum of each query into the results.
  void soften() const {
    const DF d;
    for (uint64_t i = 0; i < queries; i += kLanes) {
      const VF from = hn::LoadU(d, first + i), to = hn::LoadU(d, last + i), scale = hn::Set(d, a.scale);
      VF most = hn::Set(d, kUnseen);
      for (uint64_t j = 0; j < n_keys; ++j) {
        const VF at = hn::Set(d, static_cast<float>(j));
        const auto seen = hn::And(hn::Ge(at, from), hn::Le(at, to));
        const VF s = hn::IfThenElse(seen, hn::Mul(hn::LoadU(d, scores + j * queries + i), scale), hn::Set(d, kUnseen));
        hn::StoreU(s, d, scores + j * queries + i);
        most = hn::Max(most, s);
      }
      VF sums[kCacheGroup];
      for (VF& s : sums) s = hn::Zero(d);
      for (uint64_t j = 0; j < n_keys; j += kCacheGroup)
        for (uint64_t r = 0; r < kCacheGroup; ++r) {
          float* const s = scores + (j + r) * queries + i;
          const VF e = hn::Exp(d, hn::Sub(hn::LoadU(d, s), most));
          hn::StoreU(e, d, s);
          sums[r] = hn::Add(sums[r], e);
        }
      for (uint64_t half = kCacheGroup / 2; half > 0; half /= 2)
        for (uint64_t r = 0; r < half; ++r) sums[r] = hn::Add(sums[r], sums[r + half]);
      float tops[kLanes], totals[kLanes];
      hn::StoreU(most, d, tops);
      hn::StoreU(sums[0], d, totals);
      for (uint64_t r = 0; r < kLanes && i + r < n_queries; ++r) {
        float* out = a.result + (i + r) * partial_width(a.head_dim) + width;
        out[0] = tops[r];
        out[1] = totals[r];
      }
    }
  }

  template <class T>
  void mix() {
    for (uint64_t j = 0; base + j < a.end; j += kKeys) {
      const uint64_t n = std::min(kKeys, a.end - base - j);
      load_values<T>(j, n);
      multiply({.a = scores + j * queries,
                .a_row = 1,
                .a_k = queries,
                .b = values,
                .b_stride = width,
                .c = result,
                .c_stride = width,
                .n_k = n,
                .add = j > 0},
               queries, width);
    }
    for (uint64_t i = 0; i < n_queries; ++i)
      std::copy(result + i * width, result + (i + 1) * width, a.result + i * partial_width(a.head_dim));
  }
};

template <class T>
void attend_block(const AttendBlock& a) {
  Block block(a);
  block.load_queries();
  block.score<T>();
  block.soften();
  block.mix<T>();
}

AttendBlockKernel make_attend_block(DType type) {
  switch (type) {
    case DType::kF32:
      return &attend_block<float>;
    case DType::kF16:
      return &attend_block<hwy::float16_t>;
    case DType::kF8_E4M3:
      return &attend_block<F8_E4M3>;
    case DType::kQ8_0:
      return &attend_block<Q8_0>;
    default:
      return &attend_block<hwy::bfloat16_t>;
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace stretto::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace stretto::cpu {

HWY_EXPORT(make_attend_block);

AttendBlockKernel attend_block_kernel(DType cache_type, const Isa& isa) {
  return kernel_at(HWY_DISPATCH_TABLE(make_attend_block), isa.target)(cache_type);
}

}  // namespace stretto::cpu
#endif  // HWY_ONCE
