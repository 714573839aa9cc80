// Keys and values as stages of the ring of weights (device/stream_ring.cuh): which positions a block reads, and in
// which order they go through the ring. The feeder and the warps that read say the same of both.
#pragma once

#include <algorithm>

#include "cuda/cache_layout.h"
#include "cuda/device/head_softmax.cuh"
#include "cuda/stream.h"

namespace stretto::cuda {

// Between ordinary accesses and bulk copies of the same memory: later tokens of a launch copy the cache rows that
// earlier ones wrote. It waits for all that is under way.
__device__ __forceinline__ void order_copies() { asm volatile("fence.proxy.async;" ::: "memory"); }

// The positions of a block, in pieces of cache.positions, and its group of heads.
struct StreamRun {
  uint32_t group = 0, index = 0, begin = 0, end = 0, n_active = 0, kv_head = 0, first_head = 0, n_heads = 0,
           first_position = 0;
  bool owns_new = false, writes = false;  // the token's own position is the last one; this block puts it into the cache

  StreamRun() = default;
  __device__ StreamRun(const StreamCache& c, uint32_t position) {
    const uint32_t per_kv = c.n_heads / c.n_kv_heads, groups = (per_kv + kHeadsPerBlock - 1) / kHeadsPerBlock;
    const uint32_t n_groups = c.n_kv_heads * groups;
    group = blockIdx.x % n_groups;
    index = blockIdx.x / n_groups;
    kv_head = group / groups;
    const uint32_t in_kv = group % groups * kHeadsPerBlock;
    first_head = kv_head * per_kv + in_kv;
    n_heads = min(kHeadsPerBlock, per_kv - in_kv);
    first_position = c.window != 0 && position + 1 > c.window ? position + 1 - c.window : 0;
    const uint32_t first = first_position / kCacheGranule, count = position / kCacheGranule + 1 - first;
    n_active = active_runs(count, c.n_splits, c.min_granules);
    const uint32_t per_granule = kCacheGranule / c.positions;
    begin = max((first + index * count / n_active) * per_granule, first_position / c.positions);
    end = min((first + (index + 1) * count / n_active) * per_granule, position / c.positions + 1);
    owns_new = index + 1 == n_active;
    writes = owns_new && in_kv == 0;
  }
  __device__ __forceinline__ bool is_active() const { return index < n_active; }
};

// Rows of stages, one for each warp: keys and then values of a row of pieces. Pieces of eight positions go in pairs as
// long as rows are full, two rows of keys and then two of values, since matrix instructions take sixteen. Where the
// last row is short, stages of its keys stay empty, so that a warp finds its values where it had the keys.
struct StreamSlots {
  uint32_t n_full = 0;   // rows of kStreamWarps pieces
  uint32_t n_rest = 0;   // pieces of the last row
  uint32_t n_pairs = 0;  // of full rows

  StreamSlots() = default;
  __device__ StreamSlots(uint32_t n_pieces, uint32_t positions)
      : n_full(n_pieces / kStreamWarps),
        n_rest(n_pieces - n_full * kStreamWarps),
        n_pairs(positions < kCacheGranule ? n_full / 2 : 0) {}
  __device__ __forceinline__ uint32_t n_stages() const {
    return 2 * kStreamWarps * n_full + (n_rest > 0 ? kStreamWarps + n_rest : 0);
  }
  // What stage i holds: the piece, of which there may be none, and whether its values.
  struct Piece {
    uint32_t piece;
    bool is_value;
  };
  __device__ __forceinline__ Piece at(uint32_t i) const {
    const uint32_t row = i / kStreamWarps, column = i - row * kStreamWarps, paired = 4 * n_pairs;
    if (row < paired) return {(row / 4 * 2 + row % 2) * kStreamWarps + column, row % 4 >= 2};
    const uint32_t single = row - paired;
    return {(2 * n_pairs + single / 2) * kStreamWarps + column, single % 2 == 1};
  }
};

}  // namespace stretto::cuda
