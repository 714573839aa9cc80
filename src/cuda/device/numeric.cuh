// Scalar functions and sums that several kernels share.
#pragma once

#include <cstdint>

#include "ops/gated_act.h"

namespace stretto::cuda {

__device__ __forceinline__ float warp_sum(float v) {
#pragma unroll
  for (int mask = 16; mask > 0; mask /= 2) v += __shfl_xor_sync(0xffffffffu, v, mask);
  return v;
}

__device__ __forceinline__ float warp_max(float v) {
#pragma unroll
  for (int mask = 16; mask > 0; mask /= 2) v = fmaxf(v, __shfl_xor_sync(0xffffffffu, v, mask));
  return v;
}

// The sum over all threads of the block, the same bits in each; `scratch` holds 32 floats. Whole warps only.
__device__ __forceinline__ float block_sum(float v, float* scratch) {
  v = warp_sum(v);
  if (threadIdx.x % 32 == 0) scratch[threadIdx.x / 32] = v;
  __syncthreads();
  const float part = threadIdx.x % 32 < blockDim.x / 32 ? scratch[threadIdx.x % 32] : 0;
  return warp_sum(part);
}

// What x is multiplied with in an RMS norm. Here and below the hardware's approximations, of two units in the last
// place: exact ones are five times the instructions, one after the other, at the end of every phase.
__device__ __forceinline__ float rms_factor(float sum_of_squares, uint32_t n, float eps) {
  // A sum by name, lest one kernel fuses it with the product inside the quotient and another does not.
  return rsqrtf(__fadd_rn(__fdividef(sum_of_squares, static_cast<float>(n)), eps));
}

__device__ __forceinline__ float activate(Activation act, float z) {
  if (act == Activation::kSilu) return __fdividef(z, 1 + __expf(-z));
  constexpr float kSqrt2OverPi = 0.7978845608028654F;
  return 0.5F * z * (1 + tanhf(kSqrt2OverPi * (z + 0.044715F * z * z * z)));
}

}  // namespace stretto::cuda
