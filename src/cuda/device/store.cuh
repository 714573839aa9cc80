// Rounding stores.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

namespace stretto::cuda {

__device__ __forceinline__ void store_as(float* to, float v) { *to = v; }
__device__ __forceinline__ void store_as(__half* to, float v) { *to = __float2half_rn(v); }
__device__ __forceinline__ void store_as(__nv_bfloat16* to, float v) { *to = __float2bfloat16_rn(v); }

}  // namespace stretto::cuda
