// The vector of a GEMV in shared memory: normalised, and for integer weights quantised like formats/activation.h.
//
// Thread t of the block owns elements 4 (t + j n_threads) .. + 3 of pass j, from device memory to shared memory, so
// nothing but the norm's sum crosses threads.
#pragma once

#include "cuda/device/numeric.cuh"
#include "cuda/gemv.h"

namespace stretto::cuda {

// Where it lies. Elements from n_in up to a whole unit are zeros.
struct GemvInput {
  float* norm;     // [n_in], staged early; unused without a norm
  float* scratch;  // [32]
  int8_t* q;       // integer formats: [padded]
  float* scale;    // integer formats: [padded / 32]
  float* x;        // float formats: [padded]
  uint32_t padded;
};

// Copies the norm's weights to shared memory without waiting for them. Every thread copies what it will read itself.
__device__ __forceinline__ void stage_norm(const GemvParams& p, const GemvInput& in) {
  if (p.norm == nullptr || p.n_in % 4 != 0) return;
  for (uint32_t i = 4 * threadIdx.x; i < p.n_in; i += 4 * blockDim.x) {
    const auto to = static_cast<uint32_t>(__cvta_generic_to_shared(in.norm + i));
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(p.norm + i) : "memory");
  }
}

// Elements i .. i + 3 of a vector of n, zeros beyond. Integer formats have whole blocks.
template <bool kInteger>
__device__ __forceinline__ float4 load4(const float* v, uint32_t i, uint32_t n) {
  if (i >= n) return make_float4(0, 0, 0, 0);
  if (kInteger || n % 4 == 0) return *reinterpret_cast<const float4*>(v + i);
  return make_float4(v[i], i + 1 < n ? v[i + 1] : 0, i + 2 < n ? v[i + 2] : 0, i + 3 < n ? v[i + 3] : 0);
}

__device__ __forceinline__ float square4(float4 v) { return v.x * v.x + v.y * v.y + v.z * v.z + v.w * v.w; }

__device__ __forceinline__ uint32_t magnitude(float v) { return __float_as_uint(v) & 0x7fffffffu; }

__device__ __forceinline__ int quantize(float x, float inverse) {
  return max(-127, min(127, __float2int_rn(x * inverse)));  // a NaN becomes 0; its block's scale is NaN
}

// Eight neighbouring lanes hold one block of 32.
__device__ __forceinline__ void store_quantized(const GemvInput& in, uint32_t i, float4 v) {
  uint32_t top = max(max(magnitude(v.x), magnitude(v.y)), max(magnitude(v.z), magnitude(v.w)));
#pragma unroll
  for (int mask = 4; mask > 0; mask /= 2) top = max(top, __shfl_xor_sync(0xffffffffu, top, mask));
  const float scale = __uint_as_float(top) * (1.0F / 127);
  const float inverse = top != 0 ? __fdividef(127, __uint_as_float(top)) : 0;
  const char4 q =
      make_char4(static_cast<signed char>(quantize(v.x, inverse)), static_cast<signed char>(quantize(v.y, inverse)),
                 static_cast<signed char>(quantize(v.z, inverse)), static_cast<signed char>(quantize(v.w, inverse)));
  *reinterpret_cast<char4*>(in.q + i) = q;
  if (i % 32 == 0) in.scale[i / 32] = scale;
}

// Reads x after the dependency wait; the block must synchronise before it reads the result. With a norm, x is only
// multiplied with the norm's weights here: 1 / rms is a factor of the whole result and is applied at the end
// (norm_factor), off the way to the first product.
template <bool kInteger>
__device__ __forceinline__ void load_input(const GemvParams& p, const GemvInput& in) {
  constexpr uint32_t kAtOnce = 6;
  const uint32_t stride = 4 * blockDim.x;
  float sum = 0;
  for (uint32_t first = 4 * threadIdx.x; first < in.padded; first += kAtOnce * stride) {
    float4 x[kAtOnce];
#pragma unroll
    for (uint32_t j = 0; j < kAtOnce; ++j) x[j] = load4<kInteger>(p.x, first + j * stride, p.n_in);
    if (p.norm != nullptr) asm volatile("cp.async.wait_all;" ::: "memory");
#pragma unroll
    for (uint32_t j = 0; j < kAtOnce; ++j) {
      const uint32_t i = first + j * stride;
      if (i >= in.padded) break;
      float4 v = x[j];
      if (p.norm != nullptr) {
        const float4 w = load4<kInteger>(p.n_in % 4 == 0 ? in.norm : p.norm, i, p.n_in);
        sum += square4(v);
        v = make_float4(v.x * w.x, v.y * w.y, v.z * w.z, v.w * w.w);
      }
      if constexpr (kInteger) {
        store_quantized(in, i, v);
      } else {
        *reinterpret_cast<float4*>(in.x + i) = v;
      }
    }
  }
  if (p.norm == nullptr) return;
  sum = warp_sum(sum);
  if (threadIdx.x % 32 == 0) in.scratch[threadIdx.x / 32] = sum;
}

// What the products with the input have to be multiplied with.
__device__ __forceinline__ float norm_factor(const GemvParams& p, const GemvInput& in) {
  if (p.norm == nullptr) return 1;
  float sum = 0;
#pragma unroll
  for (uint32_t w = 0; w < 8; ++w) sum += w < blockDim.x / 32 ? in.scratch[w] : 0;
  return rms_factor(sum, p.n_in, p.eps);
}

}  // namespace stretto::cuda
