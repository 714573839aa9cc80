// One warp's stream of packed weights from device memory through a ring in shared memory.
//
// A warp reads one contiguous run of units (cuda/packed.h). The ring has n_stages stages of units_per_stage units; a
// stage is one asynchronous copy that completes on an mbarrier of its own. start() fills the whole ring and returns at
// once, so that a kernel can start its stream before it waits for its activations. From sm_90 on one lane issues one
// bulk copy per stage; before, the lanes copy 16 bytes each.
#pragma once

#include <cstdint>

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
        ring_(static_cast<uint32_t>(__cvta_generic_to_shared(ring))),
        barriers_(static_cast<uint32_t>(__cvta_generic_to_shared(barriers))),
        memory_(ring),
        source_(source),
        to_issue_(n_units),
        lane_(threadIdx.x % 32) {}

  __device__ void start() {
    if (lane_ == 0) {
      for (uint32_t s = 0; s < shape_.n_stages; ++s) init_barrier(barriers_ + 8 * s);
#if __CUDA_ARCH__ >= 900
      asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
      asm volatile("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(policy_));
#endif
    }
    __syncwarp();
    for (uint32_t s = 0; s < shape_.n_stages && to_issue_ > 0; ++s) issue(s);
  }

  // The units of the next stage, complete in shared memory.
  __device__ const uint8_t* acquire() {
    const uint32_t barrier = barriers_ + 8 * stage_;
    while (!is_complete(barrier, parity_)) {
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
  __device__ static void init_barrier(uint32_t barrier) {
#if __CUDA_ARCH__ >= 900
    asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;" ::"r"(barrier) : "memory");
#else
    asm volatile("mbarrier.init.shared.b64 [%0], 32;" ::"r"(barrier) : "memory");
#endif
  }

  __device__ static bool is_complete(uint32_t barrier, uint32_t parity) {
    uint32_t done;
#if __CUDA_ARCH__ >= 900
    asm volatile("{ .reg .pred p; mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2; selp.u32 %0, 1, 0, p; }"
                 : "=r"(done)
                 : "r"(barrier), "r"(parity)
                 : "memory");
#else
    asm volatile("{ .reg .pred p; mbarrier.test_wait.parity.shared.b64 p, [%1], %2; selp.u32 %0, 1, 0, p; }"
                 : "=r"(done)
                 : "r"(barrier), "r"(parity)
                 : "memory");
#endif
    return done != 0;
  }

  __device__ void issue(uint32_t stage) {
    const uint32_t n_units = min(shape_.units_per_stage, to_issue_);
    const uint32_t bytes = n_units * shape_.unit_bytes;
    const uint32_t to = ring_ + stage * shape_.stage_bytes(), barrier = barriers_ + 8 * stage;
#if __CUDA_ARCH__ >= 900
    if (lane_ == 0) {
      asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes) : "memory");
      asm volatile(
          "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint [%0], [%1], %2, [%3], "
          "%4;" ::"r"(to),
          "l"(source_), "r"(bytes), "r"(barrier), "l"(policy_)
          : "memory");
    }
#else
    for (uint32_t at = lane_ * 16; at < bytes; at += 512)
      asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to + at), "l"(source_ + at) : "memory");
    asm volatile("cp.async.mbarrier.arrive.noinc.shared.b64 [%0];" ::"r"(barrier) : "memory");
#endif
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
#if __CUDA_ARCH__ >= 900
  uint64_t policy_ = 0;
#endif
};

}  // namespace stretto::cuda
