// One head of q or k by one warp: normalised and rotated in registers.
#pragma once

#include "cuda/device/numeric.cuh"

namespace stretto::cuda {

// A lane's dimensions lane + 32 i of a head.
template <int kHeadDim>
struct LaneValues {
  static constexpr int kPer = kHeadDim / 32;
  float v[kPer];
};

template <int kHeadDim>
__device__ __forceinline__ LaneValues<kHeadDim> load_values(const float* x, uint32_t lane) {
  LaneValues<kHeadDim> y;
#pragma unroll
  for (int i = 0; i < y.kPer; ++i) y.v[i] = x[lane + 32 * i];
  return y;
}

template <int kHeadDim>
__device__ __forceinline__ LaneValues<kHeadDim> load_norm(const float* norm, uint32_t lane) {
  LaneValues<kHeadDim> w;
#pragma unroll
  for (int i = 0; i < w.kPer; ++i) w.v[i] = norm != nullptr ? norm[lane + 32 * i] : 1;
  return w;
}

// What one head needs from device memory.
template <int kHeadDim>
struct FetchedHead {
  LaneValues<kHeadDim> x, cos, sin;
};

// x (device) and row t of p.rows, all asked for at once.
template <int kHeadDim, class Params>
__device__ __forceinline__ FetchedHead<kHeadDim> fetch_head(const Params& p, const float* x, uint32_t t,
                                                            uint32_t lane) {
  const uint32_t n = p.rows.n_pairs;
  FetchedHead<kHeadDim> h;
#pragma unroll
  for (int i = 0; i < LaneValues<kHeadDim>::kPer; ++i) {
    const uint32_t d = lane + 32 * i, pair = d < n ? d : d - n;
    h.x.v[i] = x[d];
    h.cos.v[i] = d < 2 * n ? p.rows.cos[t * n + pair] : 1;
    h.sin.v[i] = d < 2 * n ? p.rows.sin[t * n + pair] : 0;
  }
  return h;
}

// One head by one warp, normalised and rotated; `scratch` [kHeadDim] is shared memory of the warp.
template <int kHeadDim, class Params>
__device__ __forceinline__ LaneValues<kHeadDim> prepare_head(const Params& p, const FetchedHead<kHeadDim>& h,
                                                             const LaneValues<kHeadDim>& norm, bool has_norm,
                                                             float* scratch, uint32_t lane) {
  constexpr int kPer = LaneValues<kHeadDim>::kPer;
  const uint32_t n = p.rows.n_pairs;
  LaneValues<kHeadDim> y = h.x;
  float sum = 0;
#pragma unroll
  for (int i = 0; i < kPer; ++i) sum += y.v[i] * y.v[i];
  const float r = has_norm ? rms_factor(warp_sum(sum), kHeadDim, p.eps) : 1;
#pragma unroll
  for (int i = 0; i < kPer; ++i) scratch[lane + 32 * i] = y.v[i] *= r * norm.v[i];
  __syncwarp();
#pragma unroll
  for (int i = 0; i < kPer; ++i) {
    const uint32_t d = lane + 32 * i;
    if (d < n) y.v[i] = y.v[i] * h.cos.v[i] - scratch[d + n] * h.sin.v[i];
    if (d >= n && d < 2 * n) y.v[i] = scratch[d - n] * h.sin.v[i] + y.v[i] * h.cos.v[i];
  }
  __syncwarp();
  return y;
}

}  // namespace stretto::cuda
