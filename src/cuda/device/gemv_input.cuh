// The vectors of a GEMV in shared memory, one per token: normalised, and for integer weights quantised like
// formats/activation.h.
//
// Thread t of the block owns elements 4 (t + j n_threads) .. + 3 of pass j of every token, from device memory to shared
// memory, so nothing but the norm's sums crosses threads.
#pragma once

#include "cuda/device/async_copy.cuh"
#include "cuda/device/numeric.cuh"
#include "cuda/device/quantize.cuh"
#include "cuda/gemv.h"

namespace stretto::cuda {

// Where they lie, token after token. Elements from n_in up to a whole unit are zeros; tokens that a launch does not
// have are not set.
struct GemvInput {
  float* norm;     // [n_in], staged early; unused without a norm
  float* scratch;  // [32] per token
  int8_t* q;       // integer formats: [padded] every `stride` bytes, element i at code_at(i)
  float* scale;    // integer formats: [padded / 32] every `scale_stride`
  float* x;        // float formats: [padded] per token
  uint32_t padded;
  uint32_t stride = 0, scale_stride = 0;  // of several tokens
  float* sum = nullptr;  // [padded / 32] every `scale_stride`: of the codes; where wide_tiles.cuh reads it
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

// Copies x of token t, which its producer has quantised; the block must synchronise before it reads the result.
template <bool kWide>
__device__ __forceinline__ void copy_quantized(const GemvParams& p, const GemvInput& in, uint32_t t) {
  const auto copy = [](void* to, const void* from, uint32_t valid) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from), "r"(valid)
                 : "memory");
  };
  const QuantizedVector x = p.x_quantized.row(t, p.n_in);
  for (uint32_t i = 16 * threadIdx.x; i < in.padded; i += 16 * blockDim.x)
    copy(in.q + t * in.stride + code_at<kWide>(i), x.codes + i, i < p.n_in ? 16 : 0);
  for (uint32_t i = 4 * threadIdx.x; i < in.padded / 32; i += 4 * blockDim.x)
    copy(in.scale + t * in.scale_stride + i, x.scales + i, i < p.n_in / 32 ? 4 * min(4U, p.n_in / 32 - i) : 0);
}

// The same of one token for wide formats. Measured: asynchronous copies take 1.2 us more there (output projection of
// 30B-A3B, also where the places in shared memory are neighbours like the lanes), and 0.1 us less for the others.
__device__ __forceinline__ void load_quantized(const GemvParams& p, const GemvInput& in) {
  constexpr uint32_t kAtOnce = 2;
  const QuantizedVector x = p.x_quantized.row(0, p.n_in);
  const uint32_t n_blocks = p.n_in / 32, stride = 16 * blockDim.x;
  float scale = threadIdx.x < n_blocks ? x.scales[threadIdx.x] : 0;
  for (uint32_t first = 16 * threadIdx.x; first < in.padded; first += kAtOnce * stride) {
    uint4 codes[kAtOnce];
#pragma unroll
    for (uint32_t j = 0; j < kAtOnce; ++j) {
      const uint32_t i = first + j * stride;
      codes[j] = i < p.n_in ? *reinterpret_cast<const uint4*>(x.codes + i) : make_uint4(0, 0, 0, 0);
    }
#pragma unroll
    for (uint32_t j = 0; j < kAtOnce; ++j) {
      const uint32_t i = first + j * stride;
      if (i < in.padded) *reinterpret_cast<uint4*>(in.q + code_at<true>(i)) = codes[j];
    }
  }
  for (uint32_t b = threadIdx.x; b < in.padded / 32; b += blockDim.x) {
    if (b >= blockDim.x) scale = b < n_blocks ? x.scales[b] : 0;
    in.scale[b] = scale;
  }
}

// Reads x after the dependency wait; the block must synchronise before it reads the result. With a norm, x is only
// multiplied with the norm's weights here: 1 / rms is a factor of the whole result and is applied at the end
// (norm_factor), off the way to the first product.
template <bool kInteger, bool kWide, uint32_t kTokens>
__device__ __forceinline__ void load_input(const GemvParams& p, const GemvInput& in) {
  if constexpr (kInteger)
    if (p.x_quantized.codes != nullptr) {
      if constexpr (kWide && kTokens == 1) {
        load_quantized(p, in);
      } else {
#pragma unroll
        for (uint32_t t = 0; t < kTokens; ++t)
          if (t < p.n_tokens) copy_quantized<kWide>(p, in, t);
        asm volatile("cp.async.wait_all;" ::: "memory");
      }
      return;
    }
  constexpr uint32_t kAtOnce = kTokens == 1 ? 6 : 8 / kTokens;  // of each token
  const uint32_t stride = 4 * blockDim.x;
  float sum[kTokens] = {};
  for (uint32_t first = 4 * threadIdx.x; first < in.padded; first += kAtOnce * stride) {
    float4 x[kTokens][kAtOnce];
#pragma unroll
    for (uint32_t t = 0; t < kTokens; ++t)
#pragma unroll
      for (uint32_t j = 0; j < kAtOnce; ++j)
        x[t][j] = load4<kInteger>(p.x + uint64_t{t < p.n_tokens ? t : 0} * p.n_in, first + j * stride, p.n_in);
    if (p.norm != nullptr) asm volatile("cp.async.wait_all;" ::: "memory");
#pragma unroll
    for (uint32_t j = 0; j < kAtOnce; ++j) {
      const uint32_t i = first + j * stride;
      if (i >= in.padded) break;
      float4 w = make_float4(1, 1, 1, 1);
      if (p.norm != nullptr) w = load4<kInteger>(p.n_in % 4 == 0 ? in.norm : p.norm, i, p.n_in);
#pragma unroll
      for (uint32_t t = 0; t < kTokens; ++t) {
        float4 v = x[t][j];
        if (p.norm != nullptr) {
          sum[t] += square4(v);
          v = make_float4(v.x * w.x, v.y * w.y, v.z * w.z, v.w * w.w);
        }
        if constexpr (kInteger) {
          quantize_four(in.q + t * in.stride + code_at<kWide>(i), in.scale + t * in.scale_stride + i / 32, v, true);
        } else {
          *reinterpret_cast<float4*>(in.x + t * in.padded + i) = v;
        }
      }
    }
  }
  if (p.norm == nullptr) return;
#pragma unroll
  for (uint32_t t = 0; t < kTokens; ++t) {
    const float total = warp_sum(sum[t]);
    if (threadIdx.x % 32 == 0) in.scratch[32 * t + threadIdx.x / 32] = total;
  }
}

// What the products with the input of token t have to be multiplied with.
template <uint32_t kMostWarps>
__device__ __forceinline__ float norm_factor(const GemvParams& p, const GemvInput& in, uint32_t t) {
  if (p.norm == nullptr) return 1;
  float sum = 0;
#pragma unroll
  for (uint32_t w = 0; w < kMostWarps; ++w) sum += w < blockDim.x / 32 ? in.scratch[32 * t + w] : 0;
  return rms_factor(sum, p.n_in, p.eps);
}

}  // namespace stretto::cuda
