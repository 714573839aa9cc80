// Read sweep: every thread 16-byte loads, eight in flight, blocks in a stride over the whole memory. Bytes: all, once.
#include <algorithm>
#include <vector>

#include "cuda/memory.h"
#include "cuda/read_sweep.h"

namespace stretto::cuda {
namespace {

constexpr uint32_t kThreads = 512;
constexpr uint32_t kUnroll = 8;

struct SweepParams {
  const uint4* memory = nullptr;
  uint64_t n = 0;  // of 16 bytes, a multiple of the grid's stride times kUnroll
  uint32_t* out = nullptr;
};

__global__ void __launch_bounds__(kThreads) sweep_kernel(SweepParams p) {
  const uint64_t stride = uint64_t{gridDim.x} * kThreads;
  uint32_t sum = 0;
  for (uint64_t i = uint64_t{blockIdx.x} * kThreads + threadIdx.x; i < p.n; i += stride * kUnroll) {
    uint4 v[kUnroll];
#pragma unroll
    for (uint32_t j = 0; j < kUnroll; ++j) v[j] = __ldcs(p.memory + i + j * stride);
#pragma unroll
    for (uint32_t j = 0; j < kUnroll; ++j) sum ^= v[j].x ^ v[j].y ^ v[j].z ^ v[j].w;
  }
  if (sum == 0x9e3779b9) *p.out = sum;  // the reads must not be optimised away
}

}  // namespace

double read_sweep_gbps(const DeviceShape& device) {
  size_t free = 0, total = 0;
  check_cuda(cudaMemGetInfo(&free, &total), "free memory");
  const uint32_t blocks = device.n_sm * 4;
  const uint64_t step = uint64_t{blocks} * kThreads * kUnroll * sizeof(uint4);
  const uint64_t bytes = std::max<uint64_t>(1, std::min<uint64_t>(uint64_t{4} << 30, free / 2) / step) * step;
  const DeviceArena memory(bytes, "the read sweep"), out(256, "the read sweep");
  check_cuda(cudaMemset(memory.data(), 0x5a, bytes), "read sweep");
  const Stream stream;
  Queue queue{.stream = stream.get()};
  cudaEvent_t begin = nullptr, end = nullptr;
  check_cuda(cudaEventCreate(&begin), "event");
  check_cuda(cudaEventCreate(&end), "event");
  std::vector<double> rates;
  for (int i = 0; i < 9; ++i) {
    check_cuda(cudaEventRecord(begin, stream.get()), "event");
    launch_kernel(queue, &sweep_kernel, dim3(blocks), kThreads, 0,
                  SweepParams{.memory = reinterpret_cast<const uint4*>(memory.data()),
                              .n = bytes / sizeof(uint4),
                              .out = reinterpret_cast<uint32_t*>(out.data())});
    check_cuda(cudaEventRecord(end, stream.get()), "event");
    stream.wait();
    float ms = 0;
    check_cuda(cudaEventElapsedTime(&ms, begin, end), "event");
    if (i > 1) rates.push_back(static_cast<double>(bytes) / 1e6 / ms);
  }
  (void)cudaEventDestroy(begin);
  (void)cudaEventDestroy(end);
  std::nth_element(rates.begin(), rates.begin() + static_cast<int64_t>(rates.size() / 2), rates.end());
  return rates[rates.size() / 2];
}

}  // namespace stretto::cuda
