// The vector of a GEMV in shared memory: normalised, and for integer weights quantised like formats/activation.h.
//
// Thread t of the block owns elements 4 (t + j n_threads) .. + 3 of pass j, from device memory to shared memory, so
// nothing but the norm's sum crosses threads.
#pragma once

#include "cuda/device/async_copy.cuh"
#include "cuda/device/numeric.cuh"
#include "cuda/device/quantize.cuh"
#include "cuda/gemv.h"

namespace stretto::cuda {

// Where it lies. Elements from n_in up to a whole unit are zeros.
struct GemvInput {
  float* norm;     // [n_in], staged early; unused without a norm
  float* scratch;  // [32]
  int8_t* q;       // integer formats: [padded], element i at code_at(i)
  float* scale;    // integer formats: [padded / 32]
  float* x;        // float formats: [padded]
  uint32_t padded;
};

// Copies the norm's weights to shared memory without waiting for them. Every thread copies what it will read itself.
__device__ __forceinline__ void stage_norm(const GemvParams& p, const GemvInput& in) {
  if (p.norm == nullptr || p.n_in % 4 != 0) return;
  for (uint32_t i = 4 * threadIdx.x; i < p.n_in; i += 4 * blockDim.x) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(shared_address(in.norm + i)), "l"(p.norm + i)
                 : "memory");
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

// Where the codes of element i lie: formats whose lanes take 32 columns have the lower halves of sixteen blocks in
// front of the upper ones, so that neighbouring lanes read neighbouring 16 bytes.
template <bool kWide>
__device__ __forceinline__ uint32_t code_at(uint32_t i) {
  if constexpr (!kWide) return i;
  return i / 512 * 512 + i / 16 % 2 * 256 + i % 512 / 32 * 16 + i % 16;
}

// Copies x that its producer has quantised; the block must synchronise before it reads the result.
template <bool kWide>
__device__ __forceinline__ void copy_quantized(const GemvParams& p, const GemvInput& in) {
  const auto copy = [](void* to, const void* from, uint32_t valid) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from), "r"(valid)
                 : "memory");
  };
  for (uint32_t i = 16 * threadIdx.x; i < in.padded; i += 16 * blockDim.x)
    copy(in.q + code_at<kWide>(i), p.x_quantized.codes + i, i < p.n_in ? 16 : 0);
  for (uint32_t i = 4 * threadIdx.x; i < in.padded / 32; i += 4 * blockDim.x)
    copy(in.scale + i, p.x_quantized.scales + i, i < p.n_in / 32 ? 4 * min(4U, p.n_in / 32 - i) : 0);
  asm volatile("cp.async.wait_all;" ::: "memory");
}

// Reads x after the dependency wait; the block must synchronise before it reads the result. With a norm, x is only
// multiplied with the norm's weights here: 1 / rms is a factor of the whole result and is applied at the end
// (norm_factor), off the way to the first product.
template <bool kInteger, bool kWide>
__device__ __forceinline__ void load_input(const GemvParams& p, const GemvInput& in) {
  if constexpr (kInteger)
    if (p.x_quantized.codes != nullptr) return copy_quantized<kWide>(p, in);
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
        quantize_four(in.q + code_at<kWide>(i), in.scale + i / 32, v, true);
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
template <uint32_t kMostWarps>
__device__ __forceinline__ float norm_factor(const GemvParams& p, const GemvInput& in) {
  if (p.norm == nullptr) return 1;
  float sum = 0;
#pragma unroll
  for (uint32_t w = 0; w < kMostWarps; ++w) sum += w < blockDim.x / 32 ? in.scratch[w] : 0;
  return rms_factor(sum, p.n_in, p.eps);
}

}  // namespace stretto::cuda
