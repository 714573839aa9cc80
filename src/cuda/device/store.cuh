// Rounding stores.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_fp8.h>

#include <cstdint>

namespace stretto::cuda {

__device__ __forceinline__ void store_as(float* to, float v) { *to = v; }
__device__ __forceinline__ void store_as(__half* to, float v) { *to = __float2half_rn(v); }
__device__ __forceinline__ void store_as(__nv_bfloat16* to, float v) { *to = __float2bfloat16_rn(v); }
__device__ __forceinline__ void store_as(__nv_fp8_e4m3* to, float v) {
  to->__x = __nv_cvt_float_to_fp8(v, __NV_SATFINITE, __NV_E4M3);
}

// Two and four neighbours; `to` is aligned to all of them.
__device__ __forceinline__ void store_pair(float* to, float2 v) { *reinterpret_cast<float2*>(to) = v; }
__device__ __forceinline__ void store_pair(__half* to, float2 v) {
  *reinterpret_cast<__half2*>(to) = __floats2half2_rn(v.x, v.y);
}
__device__ __forceinline__ void store_pair(__nv_bfloat16* to, float2 v) {
  *reinterpret_cast<__nv_bfloat162*>(to) = __floats2bfloat162_rn(v.x, v.y);
}
__device__ __forceinline__ void store_quad(float* to, float4 v) { *reinterpret_cast<float4*>(to) = v; }
template <class T>
__device__ __forceinline__ void store_quad(T* to, float4 v) {
  alignas(8) T out[4];
  store_pair(out, make_float2(v.x, v.y));
  store_pair(out + 2, make_float2(v.z, v.w));
  *reinterpret_cast<uint2*>(to) = *reinterpret_cast<const uint2*>(out);
}

}  // namespace stretto::cuda
