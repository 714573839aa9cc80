// Programmatic dependent launch, the two halves of a dependency between kernels of one stream or graph.
//
// Every kernel of a step triggers, most at entry (Trigger in cuda/launch.h), so that its successor can start as soon as
// there is room for it, loads only weights (and cache rows of earlier tokens), and then waits before it touches
// anything that a kernel of this step wrote. A kernel without the wait would be a race. Where the hardware has no such
// launches both are nothing: the launch order of the stream is the dependency.
//
// Builds with STRETTO_CUDA_DELAYS wait for pseudo-random times around both and before results are stored
// (delay_stores), so that an order that only ever held by luck breaks: a test build, whose results must be the same
// bits.
#pragma once

#include <cstdint>

namespace stretto::cuda {

// Up to 8 us, for one warp in four; nothing in ordinary builds.
__device__ __forceinline__ void random_delay() {
#ifdef STRETTO_CUDA_DELAYS
  uint32_t x = (blockIdx.x * 33 + blockIdx.y) * 97 + threadIdx.x / 32 + static_cast<uint32_t>(clock64());
  x = (x ^ x >> 15) * 0x2c1b3c6d;
  x = (x ^ x >> 12) * 0x297a2d39;
  x ^= x >> 15;
  x = __shfl_sync(__activemask(), x, __ffs(__activemask()) - 1);
  if (x % 4 == 0) __nanosleep(x >> 19);
#endif
}

// Belongs before the stores of a kernel's results.
__device__ __forceinline__ void delay_stores() { random_delay(); }

__device__ __forceinline__ void trigger_dependents() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;");
#endif
}

__device__ __forceinline__ void wait_for_inputs() {
  random_delay();
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
  random_delay();
}

}  // namespace stretto::cuda
