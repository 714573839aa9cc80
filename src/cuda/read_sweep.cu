// Read sweep: every thread 16-byte loads, eight in flight, blocks in a stride over the whole memory. Bytes: all, once.
#include <algorithm>

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

class CudaReadSweep : public ReadSweep {
 public:
  explicit CudaReadSweep(const DeviceShape& device)
      : blocks_(device.n_sm * 4), memory_(sweep_bytes(blocks_), "the read sweep"), out_(256, "the read sweep") {
    check_cuda(cudaMemset(memory_.data(), 0x5a, memory_.bytes()), "read sweep");
    check_cuda(cudaEventCreate(&begin_), "event");
    check_cuda(cudaEventCreate(&end_), "event");
  }
  ~CudaReadSweep() override {
    (void)cudaEventDestroy(begin_);
    (void)cudaEventDestroy(end_);
  }

  // The median of some sweeps behind one that is not counted: single ones after other work read up to 15 % slower.
  double pass_gbps() override {
    constexpr int kSweeps = 5;
    double rates[kSweeps];
    check_cuda(cudaDeviceSynchronize(), "read sweep");  // nothing else shall read meanwhile
    sweep_gbps();
    for (double& rate : rates) rate = sweep_gbps();
    std::nth_element(rates, rates + kSweeps / 2, rates + kSweeps);
    return rates[kSweeps / 2];
  }

 private:
  double sweep_gbps() {
    Queue queue{.stream = stream_.get()};
    check_cuda(cudaEventRecord(begin_, stream_.get()), "event");
    launch_kernel(queue, &sweep_kernel, dim3(blocks_), kThreads, 0,
                  SweepParams{.memory = reinterpret_cast<const uint4*>(memory_.data()),
                              .n = memory_.bytes() / sizeof(uint4),
                              .out = reinterpret_cast<uint32_t*>(out_.data())});
    check_cuda(cudaEventRecord(end_, stream_.get()), "event");
    stream_.wait();
    float ms = 0;
    check_cuda(cudaEventElapsedTime(&ms, begin_, end_), "event");
    return static_cast<double>(memory_.bytes()) / 1e6 / ms;
  }

  // 4 GiB, or half of what is free if that is less, in whole strides of the grid.
  static uint64_t sweep_bytes(uint32_t blocks) {
    size_t free = 0, total = 0;
    check_cuda(cudaMemGetInfo(&free, &total), "free memory");
    const uint64_t step = uint64_t{blocks} * kThreads * kUnroll * sizeof(uint4);
    return std::max<uint64_t>(1, std::min<uint64_t>(uint64_t{4} << 30, free / 2) / step) * step;
  }

  const uint32_t blocks_;
  const DeviceArena memory_, out_;
  const Stream stream_;
  cudaEvent_t begin_ = nullptr, end_ = nullptr;
};

}  // namespace

std::unique_ptr<ReadSweep> make_read_sweep(const DeviceShape& device) {
  return std::make_unique<CudaReadSweep>(device);
}

}  // namespace stretto::cuda
