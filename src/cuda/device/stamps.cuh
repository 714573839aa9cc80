#pragma once
#include <cstdint>
namespace stretto::cuda {
__device__ __forceinline__ void stamp(unsigned long long* at, uint32_t block, int k) {
  if (at == nullptr || threadIdx.x != 0) return;
  unsigned long long t;
  asm volatile("mov.u64 %0, %globaltimer;" : "=l"(t) :: "memory");
  at[block * 16 + k] = t;
  if (k == 0) { uint32_t sm; asm volatile("mov.u32 %0, %smid;" : "=r"(sm)); at[block * 16 + 8] = sm + 1; }
}
}
#ifdef STAMPS
#define STAMP(k) stamp(p.stamps, blockIdx.x, k)
#else
#define STAMP(k) (void)0
#endif
