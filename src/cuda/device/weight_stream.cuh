// One warp's stream of packed weights from device memory through a ring in shared memory.
//
// A warp reads one contiguous run of units (cuda/packed.h). The ring has n_stages stages of units_per_stage units; a
// stage is one asynchronous copy that completes on an mbarrier of its own. start() fills the whole ring and returns at
// once, so that a kernel can start its stream before it waits for its activations.
#pragma once

#include "cuda/device/async_copy.cuh"

namespace stretto::cuda {

struct StreamShape {
  uint32_t unit_bytes = 0;  // a multiple of 16
  uint32_t units_per_stage = 0;
  uint32_t n_stages = 0;
  __host__ __device__ uint32_t stage_bytes() const { return unit_bytes * units_per_stage; }
  __host__ __device__ uint32_t ring_bytes() const { return stage_bytes() * n_stages; }
};

class WeightStream {
 public:
  // `ring` (16-byte aligned, shape.ring_bytes()) and `barriers` (n_stages) belong to this warp alone.
  __device__ WeightStream(const StreamShape& shape, uint8_t* ring, uint64_t* barriers, const uint8_t* source,
                          uint32_t n_units)
      : shape_(shape),
        ring_(shared_address(ring)),
        barriers_(shared_address(barriers)),
        memory_(ring),
        source_(source),
        to_issue_(n_units),
        lane_(threadIdx.x % 32) {}

  // `again`: the weights are read a second time soon.
  __device__ void start(bool again = false) {
    if (lane_ == 0) {
#pragma unroll 1
      for (uint32_t s = 0; s < shape_.n_stages; ++s) init_copy_barrier(barriers_ + 8 * s);
      publish_barriers();
      policy_ = again ? read_again_policy() : read_once_policy();
    }
    __syncwarp();
    for (uint32_t s = 0; s < shape_.n_stages && to_issue_ > 0; ++s) issue(s);
  }

  // Whether every copy has been started.
  __device__ bool is_issued() const { return to_issue_ == 0; }

  // The units of the next stage, complete in shared memory.
  __device__ const uint8_t* acquire() {
    while (!is_complete(barriers_ + 8 * stage_, parity_)) {
    }
    return memory_ + stage_ * shape_.stage_bytes();
  }

  // Gives the stage of the last acquire() back; all lanes have read it.
  __device__ void release() {
    __syncwarp();
    if (to_issue_ > 0) issue(stage_);
    if (++stage_ == shape_.n_stages) {
      stage_ = 0;
      parity_ ^= 1;
    }
  }

 private:
  __device__ void issue(uint32_t stage) {
    const uint32_t n_units = min(shape_.units_per_stage, to_issue_);
    const uint32_t bytes = n_units * shape_.unit_bytes;
    copy_async(ring_ + stage * shape_.stage_bytes(), source_, bytes, barriers_ + 8 * stage, policy_, lane_);
    source_ += bytes;
    to_issue_ -= n_units;
  }

  const StreamShape shape_;
  const uint32_t ring_, barriers_;
  uint8_t* const memory_;
  const uint8_t* source_;
  uint32_t to_issue_;
  const uint32_t lane_;
  uint32_t stage_ = 0;
  uint32_t parity_ = 0;
  uint64_t policy_ = 0;
};

}  // namespace stretto::cuda
