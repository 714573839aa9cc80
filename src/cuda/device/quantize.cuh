// Quantisation of float vectors to blocks of 32 signed bytes with one scale, the same bits as formats/activation.h.
#pragma once

#include <cstdint>

#include "cuda/quantized.h"

namespace stretto::cuda {

__device__ __forceinline__ uint32_t magnitude(float v) { return __float_as_uint(v) & 0x7fffffffu; }

// x * inverse as a whole number, the nearest one, ties to even, in the low byte: where a sum has no bits behind the
// point, its low bits are the number. Conversions run at a quarter of the rate of sums, and one block of the experts'
// sum has 6144 values. The product is at most 127 but for rounding; where it is not, the scale of its block is not
// finite, or below 1e-38.
__device__ __forceinline__ uint32_t quantized_bits(float x, float inverse) {
  constexpr float kWhole = 1.5F * (1 << 23);
  return __float_as_uint(__fadd_rn(__fmul_rn(x, inverse), kWhole));
}
__device__ __forceinline__ int8_t quantize(float x, float inverse) {
  return static_cast<int8_t>(quantized_bits(x, inverse) & 0xff);
}
// Four codes in order.
__device__ __forceinline__ uint32_t quantize(float4 v, float inverse) {
  const uint32_t low = __byte_perm(quantized_bits(v.x, inverse), quantized_bits(v.y, inverse), 0x0040);
  const uint32_t high = __byte_perm(quantized_bits(v.z, inverse), quantized_bits(v.w, inverse), 0x0040);
  return __byte_perm(low, high, 0x5410);
}

struct BlockScale {
  float scale, inverse;
};
__device__ __forceinline__ BlockScale scale_of(uint32_t top) {
  return {__uint_as_float(top) * (1.0F / 127), top != 0 ? __fdividef(127, __uint_as_float(top)) : 0};
}

// The largest magnitude of the elements that eight neighbouring lanes hold, four each; all lanes of the warp take part.
__device__ __forceinline__ uint32_t top_of_eight(float4 v) {
  uint32_t top = max(max(magnitude(v.x), magnitude(v.y)), max(magnitude(v.z), magnitude(v.w)));
#pragma unroll
  for (int mask = 4; mask > 0; mask /= 2) top = max(top, __shfl_xor_sync(0xffffffffu, top, mask));
  return top;
}

// Four elements of a block that eight neighbouring lanes hold in order; all lanes of the warp take part, those with
// `store` write: their codes, and the first of the eight the scale.
__device__ __forceinline__ void quantize_four(int8_t* codes, float* scale, float4 v, bool store) {
  const BlockScale b = scale_of(top_of_eight(v));
  if (!store) return;
  *reinterpret_cast<uint32_t*>(codes) = quantize(v, b.inverse);
  if (threadIdx.x % 8 == 0) *scale = b.scale;
}

// Element i of a block that the lanes of a warp hold in order.
__device__ __forceinline__ void quantize_one(const QuantizedVector& to, uint32_t i, float v) {
  const BlockScale b = scale_of(__reduce_max_sync(0xffffffffu, magnitude(v)));
  to.codes[i] = quantize(v, b.inverse);
  if (i % 32 == 0) to.scales[i / 32] = b.scale;
}

}  // namespace stretto::cuda
