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

// The same choice by one warp for itself among up to 128 experts, without a barrier. A lane has experts 4 lane to
// 4 lane + 3, sorted; a turn per choice takes the largest of the lanes' first ones.
class WarpChoice {
 public:
  __host__ __device__ static bool can(const Router& p) {
    return p.logits != nullptr && p.n_experts <= 128 && p.n_experts % 4 == 0;
  }

  // Behind the wait for the kernel that wrote the logits. The block's warps share one trip to the L2 cache: all warps
  // of all blocks would queue for its few lines.
  __device__ __forceinline__ void fetch(const Router& p, uint32_t row, uint32_t lane) {
    logits_ = *place(p, row, lane);
  }
  // Before the wait, where what the L1 cache has may be old.
  __device__ __forceinline__ void fetch_early(const Router& p, uint32_t row, uint32_t lane) {
    logits_ = __ldcg(place(p, row, lane));
  }

  __device__ __forceinline__ void choose(const Router& p, uint32_t lane) {
    const float v[4] = {logits_.x, logits_.y, logits_.z, logits_.w};
    uint32_t key[4], e[4];
#pragma unroll
    for (uint32_t i = 0; i < 4; ++i) {
      key[i] = has_ ? ordered_key(v[i]) : 0;
      e[i] = 4 * lane + i;
    }
    // Neighbours change places only where the later one is larger, so equals keep their order.
#pragma unroll
    for (uint32_t last = 3; last > 0; --last)
#pragma unroll
      for (uint32_t i = 0; i < last; ++i) {
        const bool swap = key[i + 1] > key[i];
        const uint32_t k = swap ? key[i + 1] : key[i], n = swap ? e[i + 1] : e[i];
        key[i + 1] = swap ? key[i] : key[i + 1];
        e[i + 1] = swap ? e[i] : e[i + 1];
        key[i] = k;
        e[i] = n;
      }
#pragma unroll 1
    for (uint32_t j = 0; j < p.top_k; ++j) {
      const uint32_t top = __reduce_max_sync(0xffffffffu, key[0]);
      const uint32_t holders = __ballot_sync(0xffffffffu, key[0] == top);
      const uint32_t winner = __ffs(holders) - 1, id = __shfl_sync(0xffffffffu, e[0], winner);
      if (lane == j) {
        id_ = id;
        key_ = top;
      }
      if (lane == winner) {
#pragma unroll
        for (uint32_t i = 0; i < 3; ++i) {
          key[i] = key[i + 1];
          e[i] = e[i + 1];
        }
        key[3] = 0;
      }
    }
  }

  // The choice of routing.choose(), behind a barrier.
  __device__ __forceinline__ void take(const Routing& routing, uint32_t lane) { id_ = routing.ids[lane]; }

  __device__ __forceinline__ uint32_t own_id() const { return id_; }
  // By the whole warp.
  __device__ __forceinline__ uint32_t id(uint32_t slot) const { return __shfl_sync(0xffffffffu, id_, slot); }

  // As Routing::weigh.
  __device__ __forceinline__ float weigh(const Router& p, uint32_t lane) const {
    const float top = value_of_key(__shfl_sync(0xffffffffu, key_, 0));
    const float mine = lane < p.top_k ? expf(value_of_key(key_) - top) : 0;
    float all = 0;
    if (has_) all = expf(logits_.x - top) + expf(logits_.y - top) + (expf(logits_.z - top) + expf(logits_.w - top));
    all = warp_sum(all);
    const float sum = warp_sum(mine) / all;
    return mine / all * p.scale / (p.renormalise ? fmaxf(sum, static_cast<float>(kRouterSumFloor)) : 1);
  }

 private:
  __device__ __forceinline__ const float4* place(const Router& p, uint32_t row, uint32_t lane) {
    has_ = 4 * lane < p.n_experts;
    return reinterpret_cast<const float4*>(p.logits + uint64_t{row} * p.n_experts) + (has_ ? lane : 0);
  }

  float4 logits_ = {};
  bool has_ = false;
  uint32_t id_ = 0, key_ = 0;  // of choice `lane`
};

}  // namespace stretto::cuda
