// Looking at a counter that other blocks raise.
#pragma once

#include <cstdint>

namespace stretto::cuda {

__device__ __forceinline__ uint32_t load_acquire(const uint32_t* from) {
  uint32_t v;
  asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(v) : "l"(from) : "memory");
  return v;
}

}  // namespace stretto::cuda
