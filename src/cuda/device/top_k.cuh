// The choice of experts by one block: the top_k largest logits, the lower index first among equals, not-a-number last.
//
// Softmax over all experts keeps their order, so the choice is made on the logits. Every thread counts the logits that
// go before its own: the count is the place in the order, without a turn per choice. Some 400 cycles for 128 experts,
// where turns of warp reductions take 4800: little enough for every block that needs the choice to make it itself.
#pragma once

#include "cuda/device/numeric.cuh"
#include "cuda/experts.h"
#include "ops/router_top_k.h"

namespace stretto::cuda {

// Larger for larger floats; 1 for not-a-number, never 0.
__device__ __forceinline__ uint32_t ordered_key(float v) {
  if (isnan(v)) return 1;
  const uint32_t bits = __float_as_uint(v);
  return (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
}
__device__ __forceinline__ float value_of_key(uint32_t key) {
  return __uint_as_float((key & 0x80000000u) != 0 ? key & 0x7fffffffu : ~key);
}

// In shared memory, 16-byte aligned.
struct Routing {
  uint32_t ids[kMaxTopK];
  uint32_t chosen[kMaxTopK];  // keys of the choices
  float weights[kMaxTopK];
  uint32_t keys[1];  // [n_experts], rounded up to four

  __host__ __device__ static constexpr uint32_t bytes(uint32_t n_experts) {
    return 12 * kMaxTopK + (n_experts + 3) / 4 * 16;
  }

  // Before a barrier of the block. The logits may have been written by the kernel before: past the L1 cache.
  __device__ __forceinline__ void load(const Router& p, uint32_t row) {
    if (p.logits == nullptr) {
      if (threadIdx.x < p.top_k)
        ids[threadIdx.x] = static_cast<uint32_t>(__ldcg(p.ids + uint64_t{row} * p.top_k + threadIdx.x));
      return;
    }
    for (uint32_t e = threadIdx.x; e < (p.n_experts + 3) / 4 * 4; e += blockDim.x)
      keys[e] = e < p.n_experts ? ordered_key(__ldcg(p.logits + uint64_t{row} * p.n_experts + e)) : 0;
  }

  // Behind it, and before another one.
  __device__ __forceinline__ void choose(const Router& p) {
    if (p.logits == nullptr) return;
    for (uint32_t e = threadIdx.x; e < p.n_experts; e += blockDim.x) {
      const uint32_t own = keys[e], quad = e / 4;
      uint32_t place = 0;
#pragma unroll 8
      for (uint32_t q = 0; q < (p.n_experts + 3) / 4; ++q) {
        const uint4 k = reinterpret_cast<const uint4*>(keys)[q];
        const uint32_t limit = q < quad ? own - 1 : own;  // equals go before those with a higher index
        place += (k.x > limit) + (k.y > limit) + ((k.z > limit) + (k.w > limit));
      }
      for (uint32_t i = 4 * quad; i < e; ++i) place += keys[i] == own;
      if (place < p.top_k) {
        ids[place] = e;
        chosen[place] = own;
      }
    }
  }

  // One warp, behind the second barrier: the weights, by lane. Only the sums of those with logits.
  __device__ __forceinline__ float weigh(const Router& p, uint32_t lane) const {
    if (p.logits == nullptr) return 0;
    const float top = value_of_key(chosen[0]);
    const float mine = lane < p.top_k ? expf(value_of_key(chosen[lane]) - top) : 0;
    float all = 0;
    for (uint32_t e = lane; e < p.n_experts; e += 32) all += expf(value_of_key(keys[e]) - top);
    all = warp_sum(all);
    const float sum = warp_sum(mine) / all;
    return mine / all * p.scale / (p.renormalise ? fmaxf(sum, static_cast<float>(kRouterSumFloor)) : 1);
  }
};

}  // namespace stretto::cuda
