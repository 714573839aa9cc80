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

// A value as T, and `low` elements behind it what that rounding took away, likewise rounded; nothing there where low is
// 0. Together they are the value to 2^-17 (BF16) of itself.
__device__ __forceinline__ float as_float(float v) { return v; }
__device__ __forceinline__ float as_float(__half v) { return __half2float(v); }
__device__ __forceinline__ float as_float(__nv_bfloat16 v) { return __bfloat162float(v); }
template <class T>
__device__ __forceinline__ float rest_of(float v) {
  T rounded;
  store_as(&rounded, v);
  return v - as_float(rounded);
}
template <class T>
__device__ __forceinline__ void store_split(T* to, float v, uint32_t low) {
  store_as(to, v);
  if (low != 0) store_as(to + low, rest_of<T>(v));
}
template <class T>
__device__ __forceinline__ void store_split(T* to, float2 v, uint32_t low) {
  store_pair(to, v);
  if (low != 0) store_pair(to + low, make_float2(rest_of<T>(v.x), rest_of<T>(v.y)));
}
template <class T>
__device__ __forceinline__ void store_split(T* to, float4 v, uint32_t low) {
  store_quad(to, v);
  if (low != 0) store_quad(to + low, make_float4(rest_of<T>(v.x), rest_of<T>(v.y), rest_of<T>(v.z), rest_of<T>(v.w)));
}

}  // namespace stretto::cuda
