// Eight neighbouring values of a cache row in registers, as stored.
#pragma once

#include "cuda/device/formats.cuh"
#include "cuda/device/store.cuh"

namespace stretto::cuda {

template <class T>
struct CacheRow8 {  // two bytes per value
  uint4 bits;
  __device__ __forceinline__ void load(const T* p) { bits = *reinterpret_cast<const uint4*>(p); }
  __device__ __forceinline__ void get(float (&v)[8]) const {
    using Convert = std::conditional_t<std::is_same_v<T, __half>, ConvertF16, ConvertBF16>;
    const uint32_t words[4] = {bits.x, bits.y, bits.z, bits.w};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      v[2 * i] = Convert::low(words[i]);
      v[2 * i + 1] = Convert::high(words[i]);
    }
  }
  __device__ __forceinline__ void clear() { bits = make_uint4(0, 0, 0, 0); }
};

template <>
struct CacheRow8<float> {
  float4 a, b;
  __device__ __forceinline__ void load(const float* p) {
    a = reinterpret_cast<const float4*>(p)[0];
    b = reinterpret_cast<const float4*>(p)[1];
  }
  __device__ __forceinline__ void get(float (&v)[8]) const {
    v[0] = a.x, v[1] = a.y, v[2] = a.z, v[3] = a.w;
    v[4] = b.x, v[5] = b.y, v[6] = b.z, v[7] = b.w;
  }
  __device__ __forceinline__ void clear() { a = b = make_float4(0, 0, 0, 0); }
};

}  // namespace stretto::cuda
