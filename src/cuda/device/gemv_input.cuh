// The vector of a GEMV in shared memory: normalised, and for integer weights quantised like formats/activation.h.
//
// Thread t of the block owns elements 4 (t + j n_threads) .. + 3 of pass j, from the device memory to shared memory, so
// nothing but the norm's sum crosses threads. The first kKeep passes stay in registers between the sum and the result.
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

__device__ __forceinline__ float4 load_x4(const GemvParams& p, uint32_t i) {
  if (i >= p.n_in) return make_float4(0, 0, 0, 0);
  if (p.n_in % 4 == 0) return *reinterpret_cast<const float4*>(p.x + i);
  return make_float4(p.x[i], i + 1 < p.n_in ? p.x[i + 1] : 0, i + 2 < p.n_in ? p.x[i + 2] : 0,
                     i + 3 < p.n_in ? p.x[i + 3] : 0);
}

__device__ __forceinline__ float4 norm_weights4(const GemvParams& p, const GemvInput& in, uint32_t i) {
  if (i >= p.n_in) return make_float4(0, 0, 0, 0);
  if (p.n_in % 4 == 0) return *reinterpret_cast<const float4*>(in.norm + i);
  return make_float4(p.norm[i], i + 1 < p.n_in ? p.norm[i + 1] : 0, i + 2 < p.n_in ? p.norm[i + 2] : 0,
                     i + 3 < p.n_in ? p.norm[i + 3] : 0);
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
  const float scale = __fdiv_rn(__uint_as_float(top), 127);
  const float inverse = scale != 0 ? __fdiv_rn(1, scale) : 0;
  const char4 q = make_char4(static_cast<signed char>(quantize(v.x, inverse)),
                             static_cast<signed char>(quantize(v.y, inverse)),
                             static_cast<signed char>(quantize(v.z, inverse)),
                             static_cast<signed char>(quantize(v.w, inverse)));
  *reinterpret_cast<char4*>(in.q + i) = q;
  if (i % 32 == 0) in.scale[i / 32] = scale;
}

// Reads x after the dependency wait; the block must synchronise before it reads the result.
template <bool kInteger>
__device__ __forceinline__ void load_input(const GemvParams& p, const GemvInput& in) {
  constexpr uint32_t kKeep = 4;
  const uint32_t first = 4 * threadIdx.x, stride = 4 * blockDim.x;
  float4 kept[kKeep];
#pragma unroll
  for (uint32_t j = 0; j < kKeep; ++j) kept[j] = load_x4(p, first + j * stride);
  float factor = 1;
  if (p.norm != nullptr) {
    float sum = 0;
#pragma unroll
    for (uint32_t j = 0; j < kKeep; ++j) sum += square4(kept[j]);
    for (uint32_t i = first + kKeep * stride; i < p.n_in; i += stride) sum += square4(load_x4(p, i));
    factor = rms_factor(block_sum(sum, in.scratch), p.n_in, p.eps);
    asm volatile("cp.async.wait_all;" ::: "memory");
  }
  const auto store = [&](uint32_t i, float4 v) {
    if (p.norm != nullptr) {
      const float4 w = norm_weights4(p, in, i);
      v = make_float4(v.x * factor * w.x, v.y * factor * w.y, v.z * factor * w.z, v.w * factor * w.w);
    }
    if constexpr (kInteger) {
      store_quantized(in, i, v);
    } else {
      *reinterpret_cast<float4*>(in.x + i) = v;
    }
  };
#pragma unroll
  for (uint32_t j = 0; j < kKeep; ++j)
    if (first + j * stride < in.padded) store(first + j * stride, kept[j]);
  for (uint32_t i = first + kKeep * stride; i < in.padded; i += stride) store(i, load_x4(p, i));
}

}  // namespace stretto::cuda
