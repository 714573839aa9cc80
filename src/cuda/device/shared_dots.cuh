// Float32 dot products of one normalised vector with a few rows of weights by a whole block: RmsNorm(x) * norm with
// row k.
//
// Thread t has columns 4 t .. 4 t + 3, and of every further 4 n_threads; kRows rows at a time. The first kRows rows and
// first columns come before the dependency wait, all loads under way before the first is used: one after the other they
// took 10 us. Behind the wait a thread needs its own columns of x alone. Sums: over a thread's columns, the lanes of a
// warp, the warps, in fixed order, so that all blocks of a launch decide alike.
#pragma once

#include "cuda/device/gemv_input.cuh"

namespace stretto::cuda {

// The threads of a kernel's block.
template <uint32_t kN>
struct BlockTeam {
  static constexpr uint32_t kWarps = kN;
  __device__ __forceinline__ static void sync() { __syncthreads(); }
  __device__ __forceinline__ static bool sync_or(bool value) { return __syncthreads_or(value); }
};

// `Team` are the threads that do it, from thread 0 on, and how they meet. kWhole: d is a multiple of four. Loops that
// seldom go round are not unrolled: code that lies scattered is fetched slowly.
template <class Team, bool kWhole, uint32_t kRowsAtOnce = 12>
class SharedDots {
 public:
  static constexpr uint32_t kWarps = Team::kWarps;
  static constexpr uint32_t kRows = kRowsAtOnce, kSlots = 16;  // of registers, and of sums that are joined
  static_assert(kRows <= kSlots);
  struct Sums {
    float of[kWarps][kSlots], squares[kWarps];
  };

  // `row_at(k)` is row k of the weights, [d].
  template <class RowAt>
  __device__ __forceinline__ void fetch(const RowAt& row_at, uint32_t n_rows, const float* norm, uint32_t d) {
    load(row_at, 0, n_rows, 4 * threadIdx.x, norm, d);
  }

  // `first` is what the thread has of x at 4 t; x_at(i) are elements i .. i + 3. put(k, dot) by one thread for every
  // row; the team must meet before it reads what that leaves.
  template <class XAt, class RowAt, class Put>
  __device__ __forceinline__ void finish(float4 first, const XAt& x_at, const RowAt& row_at, uint32_t n_rows,
                                         const float* norm, uint32_t d, float eps, Sums& shared, const Put& put) {
    const uint32_t warp = threadIdx.x / 32, lane = threadIdx.x % 32;
#pragma unroll 1
    for (uint32_t base = 0; base < n_rows; base += kRows) {
      float squares = square4(first), dot[kSlots] = {};
      if (base > 0) load(row_at, base, n_rows, 4 * threadIdx.x, norm, d);
      const float4 u = times(factor_, first);
#pragma unroll
      for (uint32_t k = 0; k < kRows; ++k) dot[k] = dot4(w_[k], u);
#pragma unroll 1
      for (uint32_t i = 4 * (threadIdx.x + 32 * kWarps); i < d; i += 4 * 32 * kWarps) {
        const float4 y = x_at(i);
        load(row_at, base, n_rows, i, norm, d);
        squares += square4(y);
        const float4 u_more = times(factor_, y);
#pragma unroll
        for (uint32_t k = 0; k < kRows; ++k) dot[k] += dot4(w_[k], u_more);
      }
      squares = warp_sum(squares);
      const float own = sum_of_row(dot, lane);
      if (base > 0) Team::sync();  // the sums before are used
      if (lane % 2 == 0) shared.of[warp][lane / 2] = own;
      if (lane == 0) shared.squares[warp] = squares;
      Team::sync();
      const uint32_t k = threadIdx.x;
      if (k >= kRows || base + k >= n_rows) continue;
      float sum = 0, total = 0;
#pragma unroll
      for (uint32_t w = 0; w < kWarps; ++w) {
        sum += shared.of[w][k];
        total += shared.squares[w];
      }
      put(base + k, sum * rms_factor(total, d, eps));
    }
  }

 private:
  __device__ __forceinline__ static float4 times(float4 a, float4 b) {
    return make_float4(a.x * b.x, a.y * b.y, a.z * b.z, a.w * b.w);
  }
  __device__ __forceinline__ static float dot4(float4 a, float4 b) {
    return a.x * b.x + a.y * b.y + (a.z * b.z + a.w * b.w);
  }

  // Columns i .. i + 3 of rows base .. base + kRows - 1, and of the norm. Beyond the last row it is the last one again,
  // whose sum nobody takes: twelve questions whether there is a row cost more than a load.
  template <class RowAt>
  __device__ __forceinline__ void load(const RowAt& row_at, uint32_t base, uint32_t n_rows, uint32_t i,
                                       const float* norm, uint32_t d) {
#pragma unroll
    for (uint32_t k = 0; k < kRows; ++k) w_[k] = make_float4(0, 0, 0, 0);
    factor_ = make_float4(0, 0, 0, 0);
    if (i >= d) return;
    factor_ = four<kWhole>(norm, i, d);
#pragma unroll
    for (uint32_t k = 0; k < kRows; ++k) w_[k] = four<kWhole>(row_at(min(base + k, n_rows - 1)), i, d);
  }
  template <bool kVector>
  __device__ __forceinline__ static float4 four(const float* row, uint32_t i, uint32_t d) {
    if constexpr (kVector) return *reinterpret_cast<const float4*>(row + i);
    return load4<false>(row, i, d);
  }

  // The sum over the lanes of slot lane / 2: half of the slots stay with each half of the lanes, four times.
  template <uint32_t kHalf = kSlots / 2>
  __device__ __forceinline__ static float sum_of_row(float (&dot)[kSlots], uint32_t lane) {
    if constexpr (kHalf == 0) {
      return dot[0] + __shfl_xor_sync(0xffffffffu, dot[0], 1);
    } else {
      const bool upper = (lane & 2 * kHalf) != 0;
#pragma unroll
      for (uint32_t k = 0; k < kHalf; ++k) {
        const float low = dot[k], high = dot[k + kHalf];
        dot[k] = (upper ? high : low) + __shfl_xor_sync(0xffffffffu, upper ? low : high, 2 * kHalf);
      }
      return sum_of_row<kHalf / 2>(dot, lane);
    }
  }

  float4 w_[kRows], factor_;
};

}  // namespace stretto::cuda
