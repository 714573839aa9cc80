// Do all SMs get the same share of the memory? Every SM streams the same number of bytes by bulk copies; the time at
// which each ends, averaged over many runs, says who is favoured.
//
//   nvcc -O3 -std=c++17 -gencode=arch=compute_90a,code=sm_90a lab/sm_sweep.cu -o sm_sweep && ./sm_sweep
//
// A measurement that was decided on (docs/performance.md, CUDA); not part of the build.
#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

namespace {

constexpr uint32_t kWarps = 8, kStages = 4, kStageBytes = 4352;

struct Seen {
  uint32_t sm;
  uint64_t begin_ns, end_ns;
};

void check(cudaError_t status) {
  if (status == cudaSuccess) return;
  std::fprintf(stderr, "%s\n", cudaGetErrorString(status));
  std::exit(3);
}

__device__ uint64_t now_ns() {
  uint64_t t;
  asm volatile("mov.u64 %0, %globaltimer;" : "=l"(t));
  return t;
}

__device__ void copy_stage(uint32_t to, const uint8_t* from, uint32_t barrier) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(kStageBytes) : "memory");
  asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(to),
               "l"(from), "r"(kStageBytes), "r"(barrier)
               : "memory");
}

__device__ void wait_stage(uint32_t barrier, uint32_t parity) {
  uint32_t done = 0;
  while (done == 0)
    asm volatile("{ .reg .pred p; mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2; selp.u32 %0, 1, 0, p; }"
                 : "=r"(done)
                 : "r"(barrier), "r"(parity)
                 : "memory");
}

__global__ void sweep(const uint8_t* source, uint64_t bytes_per_sm, Seen* seen) {
  extern __shared__ __align__(128) uint8_t memory[];
  __shared__ uint64_t barriers[kWarps * kStages];
  const uint64_t begin = now_ns();
  const uint32_t warp = threadIdx.x / 32;
  if (threadIdx.x % 32 == 0) {
    const auto barrier = static_cast<uint32_t>(__cvta_generic_to_shared(barriers + warp * kStages));
    const auto ring = static_cast<uint32_t>(__cvta_generic_to_shared(memory)) + warp * kStages * kStageBytes;
    const auto n = static_cast<uint32_t>(bytes_per_sm / kWarps / kStageBytes);
    const uint8_t* from = source + blockIdx.x * bytes_per_sm + warp * (bytes_per_sm / kWarps);
    for (uint32_t s = 0; s < kStages; ++s)
      asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;" ::"r"(barrier + 8 * s) : "memory");
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    for (uint32_t i = 0; i < n + kStages; ++i) {
      const uint32_t s = i % kStages;
      if (i >= kStages) wait_stage(barrier + 8 * s, (i / kStages - 1) % 2);
      if (i < n) copy_stage(ring + s * kStageBytes, from + uint64_t{i} * kStageBytes, barrier + 8 * s);
    }
  }
  __syncthreads();
  if (threadIdx.x != 0) return;
  uint32_t sm;
  asm volatile("mov.u32 %0, %smid;" : "=r"(sm));
  seen[blockIdx.x] = {sm, begin, now_ns()};
}

}  // namespace

int main() {
  constexpr uint64_t kMega = 1 << 20, kArena = 3000 * kMega;
  constexpr int kRuns = 60;
  cudaDeviceProp device{};
  check(cudaGetDeviceProperties(&device, 0));
  const auto n_sm = static_cast<uint32_t>(device.multiProcessorCount);
  uint8_t* arena = nullptr;
  Seen* on_device = nullptr;
  check(cudaMalloc(&arena, kArena));
  check(cudaMemset(arena, 1, kArena));
  check(cudaMalloc(&on_device, n_sm * sizeof(Seen)));
  std::vector<Seen> seen(n_sm);
  constexpr uint32_t kRingBytes = kWarps * kStages * kStageBytes;
  check(cudaFuncSetAttribute(sweep, cudaFuncAttributeMaxDynamicSharedMemorySize, kRingBytes));
  for (const uint64_t mega : {50, 100, 1000}) {
    const uint64_t per_sm = mega * kMega / n_sm / (kWarps * kStageBytes) * (kWarps * kStageBytes);
    std::vector<double> mean_us(n_sm, 0);
    double last_us = 0;
    for (int run = 0; run < kRuns; ++run) {
      const uint64_t at = run % 20 * (mega < 500 ? 100 * kMega : 0);  // more than the L2 cache holds
      sweep<<<n_sm, 32 * kWarps, kRingBytes>>>(arena + at, per_sm, on_device);
      check(cudaGetLastError());
      check(cudaMemcpy(seen.data(), on_device, n_sm * sizeof(Seen), cudaMemcpyDeviceToHost));
      const auto first =
          std::min_element(seen.begin(), seen.end(), [](auto& a, auto& b) { return a.begin_ns < b.begin_ns; });
      double last = 0;
      for (const Seen& s : seen) {
        const double us = static_cast<double>(s.end_ns - first->begin_ns) / 1e3;
        mean_us[s.sm] += us / kRuns;
        last = std::max(last, us);
      }
      last_us += last / kRuns;
    }
    std::printf("%4u MB: the last SM ends after %.2f us (%.0f GB/s)\n ", static_cast<unsigned>(mega), last_us,
                static_cast<double>(per_sm * n_sm) / 1e3 / last_us);
    for (uint32_t sm = 0; sm < n_sm; ++sm) std::printf(" %u:%.2f", sm, mean_us[sm]);
    std::printf("\n");
  }
  check(cudaFree(arena));
  check(cudaFree(on_device));
  return 0;
}
