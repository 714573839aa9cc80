// Quantisation of float vectors to blocks of 32 signed bytes with one scale, the same bits as formats/activation.h.
#pragma once

#include <cstdint>

#include "cuda/quantized.h"

namespace stretto::cuda {

__device__ __forceinline__ uint32_t magnitude(float v) { return __float_as_uint(v) & 0x7fffffffu; }

__device__ __forceinline__ signed char quantize(float x, float inverse) {
  return static_cast<signed char>(
      max(-127, min(127, __float2int_rn(x * inverse))));  // a NaN becomes 0; its scale is NaN
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
  *reinterpret_cast<char4*>(codes) = make_char4(quantize(v.x, b.inverse), quantize(v.y, b.inverse),
                                                quantize(v.z, b.inverse), quantize(v.w, b.inverse));
  if (threadIdx.x % 8 == 0) *scale = b.scale;
}

// Element i of a block that the lanes of a warp hold in order.
__device__ __forceinline__ void quantize_one(const QuantizedVector& to, uint32_t i, float v) {
  const BlockScale b = scale_of(__reduce_max_sync(0xffffffffu, magnitude(v)));
  to.codes[i] = quantize(v, b.inverse);
  if (i % 32 == 0) to.scales[i / 32] = b.scale;
}

}  // namespace stretto::cuda
