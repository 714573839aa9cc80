// How the blocks that share a group of heads join their partial results, [group][run][head][top, sum, nothing, nothing,
// head_dim values]: by slices of 32 values of one head, a warp each, which is all that one round of loads brings.
//
// Where all blocks of the launch are on the device at once (`waits`), the slices are shared out among the blocks of the
// group, which wait for each other: for 32 runs of eight heads a single block would read 139 KB, 6 us. Otherwise the
// last block to arrive takes them all. The sums are those of join_slice() either way, with the same bits.
#pragma once

#include "cuda/decode_attention.h"
#include "cuda/device/acquire.cuh"
#include "cuda/device/head_softmax.cuh"
#include "cuda/device/numeric.cuh"
#include "cuda/device/quantize.cuh"

namespace stretto::cuda {

// Four dimensions of the token's result at `at`; all lanes of a warp call, those with `store` have something to write.
__device__ __forceinline__ void store_result(const DecodeAttentionParams& p, uint64_t at, float4 y, float sum,
                                             bool store) {
  const float scale = 1 / sum;
  y = make_float4(y.x * scale, y.y * scale, y.z * scale, y.w * scale);
  const uint64_t width = uint64_t{p.n_heads} * p.head_dim;
  if (p.out_quantized.codes != nullptr) {
    const QuantizedVector out = p.out_quantized.row(blockIdx.z, width);
    quantize_four(out.codes + at, out.scales + at / 32, y, store);
  } else if (store) {
    *reinterpret_cast<float4*>(p.out + blockIdx.z * width + at) = y;
  }
}

template <int kHeadDim>
__device__ __forceinline__ float* partial_of(const DecodeAttentionParams& p, uint32_t run, uint32_t head) {
  const uint64_t group = blockIdx.z * gridDim.x + blockIdx.x;
  return p.partial + ((group * p.n_splits + run) * kHeadsPerBlock + head) * (kHeadDim + 4);
}

// Four values at d of every fourth run of a chunk of 32, as a lane joins them.
struct RunValues {
  static constexpr uint32_t kLoads = 8;
  float4 v[kLoads];

  template <int kHeadDim>
  __device__ __forceinline__ void load(const DecodeAttentionParams& p, uint32_t first_run, uint32_t n_runs,
                                       uint32_t head, uint32_t d, uint32_t lane) {
    constexpr uint32_t kRun = kHeadsPerBlock * (kHeadDim + 4);  // floats, as in partial_of()
    const uint32_t first = first_run + lane / 8;
    const float* const from = partial_of<kHeadDim>(p, first, head) + 4 + d;
#pragma unroll
    for (uint32_t i = 0; i < kLoads; ++i) {
      v[i] = make_float4(0, 0, 0, 0);
      if (first + 4 * i < n_runs) v[i] = __ldcg(reinterpret_cast<const float4*>(from + 4 * i * kRun));
    }
  }
};

// By a warp: 32 values of a head. A lane has four of them of every fourth run, and the weight of every 32nd. Runs in
// chunks of 32. Weights and the first chunk's values are all under way before the first is used: three trips to the L2
// cache, one behind the other, were 2 us of a layer.
template <int kHeadDim>
__device__ __forceinline__ void join_slice(const DecodeAttentionParams& p, uint32_t n_runs, uint32_t slice,
                                           uint64_t group_begin, uint32_t lane) {
  constexpr uint32_t kSlices = kHeadDim / 32, kChunks = kMostAttentionSplits / 32;
  const uint32_t head = slice / kSlices, d = slice % kSlices * 32 + lane % 8 * 4;
  float2 top_and_sum[kChunks];
#pragma unroll
  for (uint32_t c = 0; c < kChunks; ++c) {
    const uint32_t r = 32 * c + lane;
    top_and_sum[c] = make_float2(kLowestScore, 0);
    if (r < n_runs) top_and_sum[c] = __ldcg(reinterpret_cast<const float2*>(partial_of<kHeadDim>(p, r, head)));
  }
  RunValues values;
  values.load<kHeadDim>(p, 0, n_runs, head, d, lane);
  float weight[kChunks], top = kLowestScore, sum = 0;
#pragma unroll
  for (uint32_t c = 0; c < kChunks; ++c) top = fmaxf(top, top_and_sum[c].x);
  top = warp_max(top);
#pragma unroll
  for (uint32_t c = 0; c < kChunks; ++c) {
    weight[c] = 32 * c + lane < n_runs ? exp2f(top_and_sum[c].x - top) : 0;
    sum += weight[c] * top_and_sum[c].y;
  }
  sum = warp_sum(sum);
  float4 y = make_float4(0, 0, 0, 0);
#pragma unroll 1
  for (uint32_t first = 0; first < n_runs; first += 32) {
    if (first > 0) values.load<kHeadDim>(p, first, n_runs, head, d, lane);
    const float own = weight[0];
#pragma unroll
    for (uint32_t i = 0; i < RunValues::kLoads; ++i) {
      const float4 v = values.v[i];
      const float f = __shfl_sync(0xffffffffu, own, 4 * i + lane / 8);
      y = make_float4(y.x + f * v.x, y.y + f * v.y, y.z + f * v.z, y.w + f * v.w);
    }
#pragma unroll
    for (uint32_t c = 0; c + 1 < kChunks; ++c) weight[c] = weight[c + 1];  // those of the next chunk come first
  }
#pragma unroll
  for (int mask = 8; mask <= 16; mask *= 2)
    y = make_float4(y.x + __shfl_xor_sync(0xffffffffu, y.x, mask), y.y + __shfl_xor_sync(0xffffffffu, y.y, mask),
                    y.z + __shfl_xor_sync(0xffffffffu, y.z, mask), y.w + __shfl_xor_sync(0xffffffffu, y.w, mask));
  store_result(p, group_begin + head * kHeadDim + d, y, sum, lane < 8);
}

// Adds one behind everything that the block has written, where threads have synchronised. What a fence of its own would
// wait for besides (__threadfence() orders all threads' accesses) is not needed.
__device__ __forceinline__ uint32_t arrive(uint32_t* counter) {
  uint32_t before;
  asm volatile("atom.add.release.gpu.global.u32 %0, [%1], 1;" : "=r"(before) : "l"(counter) : "memory");
  return before;
}

// By a block whose partial results are written, for `n_warps` warps. The low half of a group's counter are the blocks
// that have arrived, the high half the warps that no longer need it; the last of them makes it zero for the next
// launch.
template <int kHeadDim>
__device__ __forceinline__ void join_runs(const DecodeAttentionParams& p, uint32_t n_runs, uint32_t n_heads,
                                          uint64_t group_begin, uint32_t n_warps, bool& is_last) {
  const uint32_t warp = threadIdx.x / 32, lane = threadIdx.x % 32, n_slices = n_heads * (kHeadDim / 32);
  uint32_t* const n_arrived = p.n_arrived + blockIdx.z * gridDim.x + blockIdx.x;
  __syncthreads();
  if (threadIdx.x == 0) is_last = arrive(n_arrived) + 1 == n_runs;
  uint32_t first = warp, step = n_warps;
  if (p.waits) {
    first = blockIdx.y + warp * n_runs;
    step = n_runs * n_warps;
    if (first >= n_slices) return;
    if (lane == 0)
      while ((load_acquire(n_arrived) & 0xffff) != n_runs) {
      }
    __syncwarp();
  } else {
    __syncthreads();
    if (!is_last) return;
    if (threadIdx.x == 0) *n_arrived = 0;
    __threadfence();
  }
#pragma unroll 1
  for (uint32_t slice = first; slice < n_slices; slice += step)
    join_slice<kHeadDim>(p, n_runs, slice, group_begin, lane);
  if (p.waits && lane == 0 && atomicAdd(n_arrived, 1U << 16) >> 16 == min(n_slices, step) - 1) *n_arrived = 0;
}

}  // namespace stretto::cuda
