// A few float32 dot products of one normalised vector: RmsNorm(x) * norm with n_rows rows of weights.
//
// A warp has rows warp, warp + n_warps, ...; the first kRows of them, up to kEarly * 128 columns, come before the
// dependency wait, already times the norm. 1 / rms is a factor of the result. Every warp squares x for itself, in the
// same order.
#pragma once

#include "cuda/device/gemv_input.cuh"

namespace stretto::cuda {

template <uint32_t kRows>
class NormedDots {
 public:
  // `row_at(k)` is row k of the weights, [d].
  template <class RowAt>
  __device__ __forceinline__ void fetch(const RowAt& row_at, uint32_t n_rows, const float* norm, uint32_t d) {
    const uint32_t warp = threadIdx.x / 32, lane = threadIdx.x % 32, n_warps = blockDim.x / 32;
    float4 factor[kEarly];  // all loads before the first use: one after the other they take a microsecond each
#pragma unroll
    for (uint32_t j = 0; j < kEarly; ++j) {
      const uint32_t i = 4 * lane + 128 * j;
      factor[j] = load4<false>(norm, i, d);
#pragma unroll
      for (uint32_t r = 0; r < kRows; ++r) {
        const uint32_t k = warp + r * n_warps;
        w_[r][j] = k < n_rows ? load4<false>(row_at(k), i, d) : make_float4(0, 0, 0, 0);
      }
    }
#pragma unroll
    for (uint32_t j = 0; j < kEarly; ++j)
#pragma unroll
      for (uint32_t r = 0; r < kRows; ++r) w_[r][j] = times(w_[r][j], factor[j]);
  }

  // put(k, dot) by one lane of the warp that has row k.
  template <class RowAt, class Put>
  __device__ __forceinline__ void finish(const float* x, const RowAt& row_at, uint32_t n_rows, const float* norm,
                                         uint32_t d, float eps, const Put& put) const {
    const uint32_t warp = threadIdx.x / 32, lane = threadIdx.x % 32, n_warps = blockDim.x / 32;
    float dot[kRows] = {}, squares = 0;
    float4 v[kEarly];
#pragma unroll
    for (uint32_t j = 0; j < kEarly; ++j) v[j] = load4<false>(x, 4 * lane + 128 * j, d);
#pragma unroll
    for (uint32_t j = 0; j < kEarly; ++j) {
      squares += square4(v[j]);
#pragma unroll
      for (uint32_t r = 0; r < kRows; ++r) dot[r] += dot4(w_[r][j], v[j]);
    }
    for (uint32_t i = 4 * lane + 128 * kEarly; i < d; i += 128) {
      const float4 y = load4<false>(x, i, d), factor = load4<false>(norm, i, d);
      squares += square4(y);
#pragma unroll
      for (uint32_t r = 0; r < kRows; ++r)
        if (warp + r * n_warps < n_rows)
          dot[r] += dot4(times(load4<false>(row_at(warp + r * n_warps), i, d), factor), y);
    }
    const float scale = rms_factor(warp_sum(squares), d, eps);
#pragma unroll
    for (uint32_t r = 0; r < kRows; ++r) {
      const float sum = warp_sum(dot[r]) * scale;
      if (lane == 0 && warp + r * n_warps < n_rows) put(warp + r * n_warps, sum);
    }
    for (uint32_t k = warp + kRows * n_warps; k < n_rows; k += n_warps) {
      float sum = 0;
      for (uint32_t i = 4 * lane; i < d; i += 128)
        sum += dot4(times(load4<false>(row_at(k), i, d), load4<false>(norm, i, d)), load4<false>(x, i, d));
      sum = warp_sum(sum) * scale;
      if (lane == 0) put(k, sum);
    }
  }

 private:
  static constexpr uint32_t kEarly = 8;

  __device__ __forceinline__ static float4 times(float4 a, float4 b) {
    return make_float4(a.x * b.x, a.y * b.y, a.z * b.z, a.w * b.w);
  }
  __device__ __forceinline__ static float dot4(float4 a, float4 b) {
    return a.x * b.x + a.y * b.y + (a.z * b.z + a.w * b.w);
  }

  float4 w_[kRows][kEarly];
};

}  // namespace stretto::cuda
