// One warp's stream of the weights of chosen experts: like WeightStream (device/weight_stream.cuh), but every item, a
// group of rows of one expert, begins at an address of its own.
#pragma once

#include "cuda/device/async_copy.cuh"
#include "cuda/device/weight_stream.cuh"

namespace stretto::cuda {

// next() gives the first byte of the next item, by the whole warp; an item has n_units units and is copied in stages
// that end with it.
class ExpertStream {
 public:
  __device__ ExpertStream(const StreamShape& shape, uint8_t* ring, uint64_t* barriers, uint32_t n_units,
                          uint32_t n_items)
      : shape_(shape),
        ring_(shared_address(ring)),
        barriers_(shared_address(barriers)),
        memory_(ring),
        n_units_(n_units),
        n_items_(n_items),
        lane_(threadIdx.x % 32) {
    if (lane_ == 0) {
#pragma unroll 1
      for (uint32_t s = 0; s < shape_.n_stages; ++s) init_copy_barrier(barriers_ + 8 * s);
      publish_barriers();
      policy_ = read_once_policy();
    }
    __syncwarp();
  }

  template <class Next>
  __device__ __forceinline__ void start(const Next& next) {
    for (uint32_t s = 0; s < shape_.n_stages && n_items_ > 0; ++s) issue(s, next);
  }

  // The units of the next stage, complete in shared memory.
  __device__ __forceinline__ const uint8_t* acquire() {
    while (!is_complete(barriers_ + 8 * stage_, parity_)) {
    }
    return memory_ + stage_ * shape_.stage_bytes();
  }

  // Gives the stage of the last acquire() back; all lanes have read it.
  template <class Next>
  __device__ __forceinline__ void release(const Next& next) {
    __syncwarp();
    if (n_items_ > 0) issue(stage_, next);
    if (++stage_ == shape_.n_stages) {
      stage_ = 0;
      parity_ ^= 1;
    }
  }

 private:
  template <class Next>
  __device__ __forceinline__ void issue(uint32_t stage, const Next& next) {
    if (unit_ == 0) source_ = next();
    const uint32_t n = min(shape_.units_per_stage, n_units_ - unit_), bytes = n * shape_.unit_bytes;
    copy_async(ring_ + stage * shape_.stage_bytes(), source_, bytes, barriers_ + 8 * stage, policy_, lane_);
    source_ += bytes;
    unit_ += n;
    if (unit_ == n_units_) {
      unit_ = 0;
      --n_items_;
    }
  }

  const StreamShape shape_;
  const uint32_t ring_, barriers_;
  uint8_t* const memory_;
  const uint32_t n_units_;
  uint32_t n_items_, unit_ = 0;  // to copy; of the first of them
  const uint8_t* source_ = nullptr;
  const uint32_t lane_;
  uint32_t stage_ = 0, parity_ = 0;
  uint64_t policy_ = 0;
};

}  // namespace stretto::cuda
