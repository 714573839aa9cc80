// Activations as 8-bit integers, for integer dot products with quantised weights.
//
// A row of n values (n a multiple of 32) is cut into blocks of 32 with a binary32 scale:
//
//   scale[b] = max |x| / 127      q[i] = nearest_even(x[i] * (1 / scale[b])), -127..127
//
// This is the Q8_0 rule with the scale kept in binary32, which removes its largest error term and the overflow of
// binary16. The K-quants use the same blocks with their own weight scale per 16 or 32 elements, so that one quantised
// row serves every weight of a layer. Minimums of weights need sums of activations, which are stored scaled:
//
//   sum[b] = scale[b] * (sum of q over block b)      half_sum[k] = scale * (sum of q over elements 16 k .. 16 k + 15)
//
// Memory is one struct of arrays, each starting at a multiple of 64 bytes: q i8[n], scale f32[n / 32], sum f32[n / 32],
// half_sum f32[n / 16]. A NaN or an infinity makes the scale of its block NaN or infinite and so reaches the result.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/dtype.h"

namespace stretto {

inline constexpr uint64_t kActivationBlock = 32;

struct ActivationRow {
  uint64_t n = 0;
  int8_t* q = nullptr;        // [n]
  float* scale = nullptr;     // [n / 32]
  float* sum = nullptr;       // [n / 32]
  float* half_sum = nullptr;  // [n / 16]
};

// The same, read-only.
struct ActivationView {
  uint64_t n = 0;
  const int8_t* q = nullptr;
  const float* scale = nullptr;
  const float* sum = nullptr;
  const float* half_sum = nullptr;

  ActivationView(const ActivationRow& r) : n(r.n), q(r.q), scale(r.scale), sum(r.sum), half_sum(r.half_sum) {}
};

// Bytes of one quantised row, a multiple of 64.
uint64_t activation_row_bytes(uint64_t n);

// The arrays of a row inside `memory` (64-byte aligned, activation_row_bytes(n) bytes).
ActivationRow activation_row(std::byte* memory, uint64_t n);
inline ActivationView activation_view(const std::byte* memory, uint64_t n) {
  return activation_row(const_cast<std::byte*>(memory), n);
}

// Quantises x[n] into `row` (row.n values), or only the blocks first .. first + count - 1 of both.
void quantize_activation(const float* x, const ActivationRow& row);
void quantize_activation_blocks(const float* x, const ActivationRow& row, uint64_t first, uint64_t count);

// True where dot_q8 is defined: every block format; not F32, F16 and BF16, which multiply binary32 activations.
bool has_integer_dot(DType type);

// sum over i of weight[i] * (scale * q)[i]: exact integer sums per group of 16 or 32, binary32 products of these with
// the scales, binary64 accumulation over the row. The reference for every SIMD kernel. CHECKs has_integer_dot.
float dot_q8(DType type, const std::byte* weight_row, const ActivationView& row);

}  // namespace stretto
