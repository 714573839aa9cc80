// One warp's stream of keys and values of one head through a ring in shared memory: granules of kCacheGranule
// positions, keys and values in turn, every kEvery-th granule of a run. Like device/weight_stream.cuh it can be started
// before the activations are there, for positions that earlier steps wrote.
#pragma once

#include "cuda/cache_layout.h"
#include "cuda/device/async_copy.cuh"
#include "cuda/device/cache_format.cuh"

namespace stretto::cuda {

template <uint32_t kRowBytes, uint32_t kEvery>
class CacheStream {
 public:
  static constexpr uint32_t kStageBytes = kCacheGranule * kRowBytes;

  // keys, values: the head's row 0. Granules first, first + kEvery, .. below end.
  __device__ CacheStream(uint8_t* ring, uint32_t n_stages, uint64_t* barriers, const uint8_t* keys,
                         const uint8_t* values, uint32_t first, uint32_t end)
      : ring_(shared_address(ring)),
        barriers_(shared_address(barriers)),
        keys_(keys),
        values_(values),
        next_(2 * first),
        end_(end),
        n_stages_(n_stages),
        lane_(threadIdx.x % 32) {}

  __device__ void prepare() {
    if (lane_ == 0) {
#pragma unroll 1
      for (uint32_t s = 0; s < n_stages_; ++s) init_copy_barrier(barriers_ + 8 * s);
      publish_barriers();
      policy_ = read_once_policy();
    }
    __syncwarp();
  }
  // Instead of prepare(): the barriers were used by a stream that ended with this parity().
  __device__ void resume(uint32_t parity) {
    policy_ = read_once_policy();
    parity_ = parity;
  }
  // When every stage has been used equally often.
  __device__ uint32_t parity() const { return parity_; }
  // The next n granules behind those of start() into the second-level cache.
  __device__ void prefetch(uint32_t n) const {
    const uint32_t granule = next_ / 2 + lane_ / 2 * kEvery;
    if (lane_ / 2 >= n || granule >= end_) return;
    const uint8_t* from = (lane_ % 2 == 0 ? keys_ : values_) + uint64_t{granule} * kStageBytes;
    asm volatile("cp.async.bulk.prefetch.L2.global [%0], %1;" ::"l"(from), "n"(kStageBytes));
  }
  // Stages from first to below end; all of them, in order, before the first acquire().
  __device__ void start(uint32_t first, uint32_t end) {
#pragma unroll 1
    for (uint32_t s = first; s < end; ++s) issue(s);
  }
  __device__ void start() { start(0, n_stages_); }
  // The shared address of the next half of a granule, complete; wait(barrier, parity) waits for a copy.
  template <class Wait>
  __device__ uint32_t acquire(const Wait& wait) {
    wait(barriers_ + 8 * stage_, parity_);
    return ring_ + stage_ * kStageBytes;
  }
  __device__ uint32_t acquire() {
    return acquire([](uint32_t barrier, uint32_t parity) {
      while (!is_complete(barrier, parity)) {
      }
    });
  }
  // Gives the last one back; all lanes have read it.
  __device__ void release() {
    __syncwarp();
    issue(stage_);
    if (++stage_ == n_stages_) {
      stage_ = 0;
      parity_ ^= 1;
    }
  }

 private:
  __device__ void issue(uint32_t stage) {
    const uint32_t granule = next_ / 2;
    if (granule >= end_) return;
    const uint8_t* from = (next_ % 2 == 0 ? keys_ : values_) + uint64_t{granule} * kStageBytes;
    copy_async(ring_ + stage * kStageBytes, from, kStageBytes, barriers_ + 8 * stage, policy_, lane_);
    next_ += next_ % 2 == 0 ? 1 : 2 * kEvery - 1;
  }

  const uint32_t ring_, barriers_;
  const uint8_t* const keys_;
  const uint8_t* const values_;
  uint32_t next_;  // 2 granule, + 1 for its values
  const uint32_t end_, n_stages_, lane_;
  uint32_t stage_ = 0, parity_ = 0;
  uint64_t policy_ = 0;
};

// The granules of a stream as the tensor cores read them: where they lie, or expanded into a buffer of the warp, so
// that the stage goes back before anything is computed. `memory` of the warp: ring_bytes(n_stages).
template <class C, int kHeadDim, uint32_t kEvery>
class GranuleReader {
 public:
  static constexpr uint32_t kStageBytes = C::granule_bytes(kHeadDim);
  static constexpr uint32_t kBufferBytes = C::kExpands ? kCacheGranule * kHeadDim * 2 : 0;
  __host__ __device__ static constexpr uint32_t ring_bytes(uint32_t n_stages) {
    return kBufferBytes + n_stages * kStageBytes;
  }

  __device__ GranuleReader(uint8_t* memory, uint32_t n_stages, uint64_t* barriers, const uint8_t* keys,
                           const uint8_t* values, uint32_t first, uint32_t end)
      : stream_(memory + kBufferBytes, n_stages, barriers, keys, values, first, end), buffer_(shared_address(memory)) {
    stream_.prepare();
  }
  // As CacheStream::start.
  __device__ void start(uint32_t first, uint32_t end) { stream_.start(first, end); }
  // The shared address of the next half of a granule.
  __device__ __forceinline__ uint32_t take(uint32_t lane) {
    const uint32_t stored = stream_.acquire();
    if constexpr (C::kExpands) {
      expand_granule<C, kHeadDim>(stored, buffer_, lane);
      stream_.release();  // and what the lanes have expanded is visible to the warp
      return buffer_;
    } else {
      return stored;
    }
  }
  // Gives the last one back; all lanes have read it.
  __device__ __forceinline__ void give_back() {
    if constexpr (C::kExpands) {
      __syncwarp();
    } else {
      stream_.release();
    }
  }

 private:
  CacheStream<kStageBytes / kCacheGranule, kEvery> stream_;
  const uint32_t buffer_;
};

}  // namespace stretto::cuda
