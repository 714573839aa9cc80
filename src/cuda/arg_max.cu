// Greedy choice: blocks over runs of logits, their maxima meet in one atomic maximum, the last block publishes. The key
// orders by value, then by the lower index, so the order of arrival does not matter. Bytes: the logits once.
#include "cuda/arg_max.h"
#include "cuda/device/dependency.cuh"

namespace stretto::cuda {
namespace {

constexpr uint32_t kThreads = 256;

__device__ __forceinline__ unsigned long long key_of(float value, uint32_t index) {
  const uint32_t bits = __float_as_uint(value);
  const uint32_t ordered = bits & 0x80000000u ? ~bits : bits | 0x80000000u;
  return static_cast<unsigned long long>(ordered) << 32 | (0xffffffffu - index);
}

__global__ void arg_max_kernel(ArgMaxParams p) {
  __shared__ unsigned long long best[kThreads / 32];
  trigger_dependents();
  wait_for_inputs();
  unsigned long long key = 0;
  for (uint32_t i = blockIdx.x * blockDim.x + threadIdx.x; i < p.n; i += gridDim.x * blockDim.x)
    key = max(key, key_of(p.logits[i], i));
#pragma unroll
  for (int mask = 16; mask > 0; mask /= 2) key = max(key, __shfl_xor_sync(0xffffffffu, key, mask));
  if (threadIdx.x % 32 == 0) best[threadIdx.x / 32] = key;
  __syncthreads();
  if (threadIdx.x != 0) return;
  for (uint32_t w = 1; w < kThreads / 32; ++w) key = max(key, best[w]);
  delay_stores();
  atomicMax(p.best, key);
  __threadfence();
  if (atomicAdd(p.n_arrived, 1) + 1 != gridDim.x) return;
  __threadfence();
  const auto token = static_cast<int32_t>(0xffffffffu - static_cast<uint32_t>(atomicAdd(p.best, 0)));
  delay_stores();
  *p.best = 0;
  *p.n_arrived = 0;
  *p.token = token;
  p.state->position += 1;
  const uint32_t n = p.state->n_generated + 1;
  p.state->n_generated = n;
  p.mailbox[n % p.mailbox_size] = uint64_t{n} << 32 | static_cast<uint32_t>(token);
  __threadfence_system();
}

}  // namespace

void launch_arg_max(Queue& queue, const DeviceShape& device, const ArgMaxParams& params) {
  const uint32_t needed = (params.n + kThreads - 1) / kThreads;
  launch_kernel(queue, &arg_max_kernel, dim3(needed < device.n_sm ? needed : device.n_sm), kThreads, 0, params);
}

}  // namespace stretto::cuda
