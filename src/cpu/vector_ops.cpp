// Element-wise operations, norms, rotations and the quantisation of activations.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/vector_ops.cpp"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "cpu/kernels.h"
#include "hwy/contrib/math/math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace stretto::cpu {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using DF = hn::ScalableTag<float>;
using VF = hn::Vec<DF>;

// f(i, tag) for each full vector, then for each single element with a one-lane tag.
template <class F>
HWY_INLINE void for_vectors(uint64_t n, const F& f) {
  const DF d;
  const hn::CappedTag<float, 1> one;
  const uint64_t lanes = hn::Lanes(d);
  uint64_t i = 0;
  for (; i + lanes <= n; i += lanes) f(i, d);
  for (; i < n; ++i) f(i, one);
}

void rms_norm(const float* x, const float* weight, float eps, uint64_t n, float* out) {
  const DF d;
  const uint64_t lanes = hn::Lanes(d);
  VF sums[4] = {hn::Zero(d), hn::Zero(d), hn::Zero(d), hn::Zero(d)};
  uint64_t i = 0;
  for (; i + 4 * lanes <= n; i += 4 * lanes)
    for (uint64_t k = 0; k < 4; ++k) {
      const VF v = hn::LoadU(d, x + i + k * lanes);
      sums[k] = hn::MulAdd(v, v, sums[k]);
    }
  float sum = hn::GetLane(hn::SumOfLanes(d, hn::Add(hn::Add(sums[0], sums[1]), hn::Add(sums[2], sums[3]))));
  for (; i < n; ++i) sum += x[i] * x[i];
  const float factor = 1 / std::sqrt(sum / static_cast<float>(n) + eps);
  for_vectors(n, [=](uint64_t j, auto tag) HWY_ATTR {
    const auto v = hn::Mul(hn::LoadU(tag, x + j), hn::Set(tag, factor));
    hn::StoreU(weight != nullptr ? hn::Mul(v, hn::LoadU(tag, weight + j)) : v, tag, out + j);
  });
}

void add(const float* a, const float* b, uint64_t n, float* out) {
  for_vectors(n, [=](uint64_t i, auto tag)
                     HWY_ATTR { hn::StoreU(hn::Add(hn::LoadU(tag, a + i), hn::LoadU(tag, b + i)), tag, out + i); });
}

void add_scaled(float scale, const float* x, uint64_t n, float* out) {
  for_vectors(n, [=](uint64_t i, auto tag) HWY_ATTR {
    hn::StoreU(hn::MulAdd(hn::Set(tag, scale), hn::LoadU(tag, x + i), hn::LoadU(tag, out + i)), tag, out + i);
  });
}

void scale(float factor, const float* x, uint64_t n, float* out) {
  for_vectors(n, [=](uint64_t i, auto tag)
                     HWY_ATTR { hn::StoreU(hn::Mul(hn::Set(tag, factor), hn::LoadU(tag, x + i)), tag, out + i); });
}

// z / (1 + exp(-u)). Highway's Exp is exact to 1 ulp up to 104; beyond 88 the quotient is 0 in any case.
template <class D>
HWY_INLINE hn::Vec<D> times_sigmoid(D d, hn::Vec<D> z, hn::Vec<D> u) {
  const auto e = hn::Exp(d, hn::Min(hn::Neg(u), hn::Set(d, 88.0f)));
  return hn::Div(z, hn::Add(hn::Set(d, 1.0f), e));
}

void gated_act(Activation act, const float* gate, const float* up, uint64_t n, float* out) {
  if (act == Activation::kSilu) {
    for_vectors(n, [=](uint64_t i, auto tag) HWY_ATTR {
      const auto z = hn::LoadU(tag, gate + i);
      hn::StoreU(hn::Mul(times_sigmoid(tag, z, z), hn::LoadU(tag, up + i)), tag, out + i);
    });
  } else {
    // 0.5 (1 + tanh(u)) = 1 / (1 + exp(-2 u)), which does not cancel for negative u.
    for_vectors(n, [=](uint64_t i, auto tag) HWY_ATTR {
      const auto z = hn::LoadU(tag, gate + i);
      const auto cubic = hn::MulAdd(hn::Mul(hn::Set(tag, 0.044715f), hn::Mul(z, z)), z, z);
      const auto twice = hn::Mul(hn::Set(tag, 1.5957691216057308f), cubic);  // 2 sqrt(2 / pi)
      hn::StoreU(hn::Mul(times_sigmoid(tag, z, twice), hn::LoadU(tag, up + i)), tag, out + i);
    });
  }
}

void rope(const float* x, const float* cos, const float* sin, uint64_t n_pairs, uint64_t head_dim, float rest,
          float* out) {
  for_vectors(n_pairs, [=](uint64_t i, auto tag) HWY_ATTR {
    const auto a = hn::LoadU(tag, x + i), b = hn::LoadU(tag, x + n_pairs + i);
    const auto c = hn::LoadU(tag, cos + i), s = hn::LoadU(tag, sin + i);
    hn::StoreU(hn::Sub(hn::Mul(a, c), hn::Mul(b, s)), tag, out + i);
    hn::StoreU(hn::Add(hn::Mul(a, s), hn::Mul(b, c)), tag, out + n_pairs + i);
  });
  for (uint64_t i = 2 * n_pairs; i < head_dim; ++i) out[i] = x[i] * rest;
}

// max |x| over one block, in integer order of the bit patterns: NaN > infinity > every finite value.
HWY_INLINE float block_magnitude(const float* x) {
  const hn::CappedTag<uint32_t, 16> d;
  auto best = hn::Zero(d);
  for (uint64_t i = 0; i < kActivationBlock; i += hn::Lanes(d)) {
    const auto bits = hn::And(hn::LoadU(d, reinterpret_cast<const uint32_t*>(x + i)), hn::Set(d, 0x7fffffffu));
    best = hn::Max(best, bits);
  }
  return std::bit_cast<float>(hn::GetLane(hn::MaxOfLanes(d, best)));
}

// q = nearest_even(x * inverse) of 16 values; returns their sum.
HWY_INLINE int32_t quantize_16(const float* x, float inverse, int8_t* q) {
  const hn::CappedTag<float, 16> d;
  const hn::RebindToSigned<decltype(d)> di;
  auto sum = hn::Zero(di);
  for (uint64_t i = 0; i < 16; i += hn::Lanes(d)) {
    const auto v = hn::NearestInt(hn::Mul(hn::LoadU(d, x + i), hn::Set(d, inverse)));
    sum = hn::Add(sum, v);
    const hn::Rebind<int8_t, decltype(d)> d8;
    hn::StoreU(hn::DemoteTo(d8, v), d8, q + i);
  }
  return hn::GetLane(hn::SumOfLanes(di, sum));
}

void quantize_block(const float* x, uint64_t n, std::byte* operand, uint64_t b) {
  const ActivationRow row = activation_row(operand, n);
  const Operand o = operand_view(operand, n);
  auto* const offset128 = const_cast<int32_t*>(o.offset128);
  auto* const offset32 = const_cast<int32_t*>(o.offset32);
  const float* xb = x + b * kActivationBlock;
  const float step = block_magnitude(xb) / 127;
  const float inverse = step != 0 ? 1 / step : 0;
  if (!std::isfinite(step) || !std::isfinite(inverse)) {
    quantize_activation_blocks(x, row, b, 1);
    set_operand_offsets(operand, n, b, 1);
    return;
  }
  int8_t* q = row.q + b * kActivationBlock;
  const int32_t low = quantize_16(xb, inverse, q), high = quantize_16(xb + 16, inverse, q + 16);
  row.scale[b] = step;
  row.sum[b] = step * static_cast<float>(low + high);
  row.half_sum[2 * b] = step * static_cast<float>(low);
  row.half_sum[2 * b + 1] = step * static_cast<float>(high);
  offset128[b] = -128 * (low + high);
  offset32[2 * b] = -32 * low;
  offset32[2 * b + 1] = -32 * high;
}

#if HWY_TARGET != HWY_SCALAR

// Blocks that are quantised together: their maxima are found, divided and tested in vectors.
constexpr uint64_t kBlocks = 16;

// steps[b] = (max |x| over block b) / 127, inverses[b] = 1 / steps[b], or 0 for 0. False where one is not finite.
HWY_INLINE bool find_steps(const float* x, float* steps, float* inverses) {
  const hn::CappedTag<uint32_t, 16> d;
  const hn::FixedTag<uint32_t, 4> d4;
  const hn::FixedTag<float, 4> f4;
  constexpr uint64_t kLanes = hn::MaxLanes(d);
  alignas(64) uint32_t lanes[4][kLanes];
  auto finite = hn::Eq(hn::Zero(f4), hn::Zero(f4));
  for (uint64_t b = 0; b < kBlocks; b += 4) {
    hn::Vec<decltype(d4)> best[4];
    for (uint64_t k = 0; k < 4; ++k) {
      const auto* bits = reinterpret_cast<const uint32_t*>(x + (b + k) * kActivationBlock);
      auto v = hn::Zero(d);
      for (uint64_t i = 0; i < kActivationBlock; i += kLanes)
        v = hn::Max(v, hn::And(hn::LoadU(d, bits + i), hn::Set(d, 0x7fffffffu)));
      hn::Store(v, d, lanes[k]);
      best[k] = hn::LoadU(d4, lanes[k]);
      for (uint64_t i = 4; i < kLanes; i += 4) best[k] = hn::Max(best[k], hn::LoadU(d4, lanes[k] + i));
    }
    const auto m01 = hn::Max(hn::InterleaveLower(d4, best[0], best[1]), hn::InterleaveUpper(d4, best[0], best[1]));
    const auto m23 = hn::Max(hn::InterleaveLower(d4, best[2], best[3]), hn::InterleaveUpper(d4, best[2], best[3]));
    const auto most = hn::Max(hn::ConcatLowerLower(d4, m23, m01), hn::ConcatUpperUpper(d4, m23, m01));
    const auto step = hn::Div(hn::BitCast(f4, most), hn::Set(f4, 127.0F));
    const auto is_zero = hn::Eq(step, hn::Zero(f4));
    const auto inverse = hn::IfThenZeroElse(is_zero, hn::Div(hn::Set(f4, 1.0F), step));
    finite = hn::And(finite, hn::And(hn::IsFinite(step), hn::IsFinite(inverse)));
    hn::StoreU(step, f4, steps + b);
    hn::StoreU(inverse, f4, inverses + b);
  }
  return hn::AllTrue(f4, finite);
}

// q = nearest_even(x * inverses[block]) of kBlocks blocks. Adding 1.5 * 2^23 rounds, and leaves the code in the low
// byte.
HWY_INLINE void quantize_codes(const float* x, const float* inverses, int8_t* q) {
  const hn::CappedTag<float, 16> d;
  const hn::RebindToUnsigned<decltype(d)> du;
  const hn::Rebind<uint8_t, decltype(d)> d8;
  for (uint64_t b = 0; b < kBlocks; ++b) {
    const auto inverse = hn::Set(d, inverses[b]);
    for (uint64_t i = b * kActivationBlock; i < (b + 1) * kActivationBlock; i += hn::Lanes(d)) {
      const auto v = hn::Add(hn::Mul(hn::LoadU(d, x + i), inverse), hn::Set(d, 12582912.0F));
      hn::StoreU(hn::TruncateTo(d8, hn::BitCast(du, v)), d8, reinterpret_cast<uint8_t*>(q + i));
    }
  }
}

// sums[i] = sum of q over elements 16 i .. 16 i + 15 of kBlocks blocks
HWY_INLINE void sum_codes(const int8_t* q, int32_t* sums) {
  const hn::CappedTag<uint8_t, 64> d;
  const hn::Repartition<uint64_t, decltype(d)> d64;
  alignas(64) uint64_t eights[kBlocks * kActivationBlock / 8];  // of codes plus 128
  for (uint64_t i = 0; i < kBlocks * kActivationBlock; i += hn::Lanes(d)) {
    const auto u = hn::Xor(hn::LoadU(d, reinterpret_cast<const uint8_t*>(q + i)), hn::Set(d, uint8_t{0x80}));
    hn::StoreU(hn::SumsOf8(u), d64, eights + i / 8);
  }
  for (uint64_t i = 0; i < 2 * kBlocks; ++i)
    sums[i] = static_cast<int32_t>(eights[2 * i] + eights[2 * i + 1]) - 16 * 128;
}

void quantize_together(const float* x, uint64_t n, std::byte* operand, uint64_t b) {
  const ActivationRow row = activation_row(operand, n);
  const Operand o = operand_view(operand, n);
  auto* const offset128 = const_cast<int32_t*>(o.offset128);
  auto* const offset32 = const_cast<int32_t*>(o.offset32);
  float inverses[kBlocks], steps[kBlocks];
  if (!find_steps(x + b * kActivationBlock, steps, inverses)) {
    for (uint64_t k = b; k < b + kBlocks; ++k) quantize_block(x, n, operand, k);
    return;
  }
  quantize_codes(x + b * kActivationBlock, inverses, row.q + b * kActivationBlock);
  int32_t sums[2 * kBlocks];
  sum_codes(row.q + b * kActivationBlock, sums);
  for (uint64_t k = 0; k < kBlocks; ++k) {
    const int32_t both = sums[2 * k] + sums[2 * k + 1];
    row.scale[b + k] = steps[k];
    row.sum[b + k] = steps[k] * static_cast<float>(both);
    offset128[b + k] = -128 * both;
  }
  for (uint64_t k = 0; k < 2 * kBlocks; ++k) {
    row.half_sum[2 * b + k] = steps[k / 2] * static_cast<float>(sums[k]);
    offset32[2 * b + k] = -32 * sums[k];
  }
}

#endif  // HWY_TARGET != HWY_SCALAR

void quantize(const float* x, uint64_t n, std::byte* operand, uint64_t first, uint64_t count) {
  uint64_t b = first;
#if HWY_TARGET != HWY_SCALAR
  for (; b + kBlocks <= first + count; b += kBlocks) quantize_together(x, n, operand, b);
#endif
  for (; b < first + count; ++b) quantize_block(x, n, operand, b);
}

VectorKernels make_vector_kernels() {
  return {.quantize = &quantize,
          .rms_norm = &rms_norm,
          .add = &add,
          .gated_act = &gated_act,
          .add_scaled = &add_scaled,
          .scale = &scale,
          .rope = &rope};
}

}  // namespace HWY_NAMESPACE
}  // namespace stretto::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace stretto::cpu {

HWY_EXPORT(make_vector_kernels);

VectorKernels vector_kernels(const Isa& isa) {
  return kernel_at(HWY_DISPATCH_TABLE(make_vector_kernels), isa.target)();
}

}  // namespace stretto::cpu
#endif  // HWY_ONCE
