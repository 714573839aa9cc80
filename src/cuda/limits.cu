// Ceilings of a device: reads that miss and hit the L2 cache, copies, launches of nothing, barriers over the grid.
//
// Reads: two blocks of 512 threads per SM over one piece of memory, 16-byte loads, four in flight. Cold reads are
// chains of kernels over pieces that follow each other through more memory than the L2 cache holds, so each piece costs
// what a matrix of its size costs that starts behind another: launch, ramp, reading, tail. Bytes: the piece, once.
#include <algorithm>

#include "cuda/device/dependency.cuh"
#include "cuda/limits.h"
#include "cuda/memory.h"
#include "cuda/read_sweep.h"
#include "cuda/stopwatch.h"

namespace stretto::cuda {
namespace {

constexpr uint32_t kThreads = 512;
constexpr uint32_t kUnroll = 4;
constexpr uint64_t kMegabyte = 1'000'000;
constexpr uint64_t kMemoryBytes = uint64_t{1} << 30;
constexpr int kLaunches = 256;
constexpr uint32_t kBarriers = 1000;

struct ReadParams {
  const uint4* memory = nullptr;
  uint64_t n = 0;  // of 16 bytes
  uint32_t* out = nullptr;
};

__global__ void __launch_bounds__(kThreads) read_kernel(ReadParams p) {
  const uint64_t stride = uint64_t{gridDim.x} * kThreads;
  uint32_t sum = 0;
  for (uint64_t i = uint64_t{blockIdx.x} * kThreads + threadIdx.x; i < p.n; i += stride * kUnroll) {
    uint4 v[kUnroll] = {};
#pragma unroll
    for (uint32_t j = 0; j < kUnroll; ++j)
      if (i + j * stride < p.n) v[j] = __ldg(p.memory + i + j * stride);
#pragma unroll
    for (uint32_t j = 0; j < kUnroll; ++j) sum ^= v[j].x ^ v[j].y ^ v[j].z ^ v[j].w;
  }
  if (sum == 0x9e3779b9) *p.out = sum;  // the reads must not be optimised away
}

struct NothingParams {
  uint32_t unused = 0;
};

__global__ void nothing_kernel(NothingParams) {
  trigger_dependents();
  wait_for_inputs();
}

struct BarrierParams {
  uint32_t* arrived = nullptr;  // counts up for as long as the kernel runs
};

// Arrival with release, waiting with acquire: what a phase of a persistent kernel pays at least.
__global__ void barrier_kernel(BarrierParams p) {
  for (uint32_t i = 1; i <= kBarriers; ++i) {
    __syncthreads();
    if (threadIdx.x == 0) {
      asm volatile("red.release.gpu.global.add.u32 [%0], 1;" ::"l"(p.arrived) : "memory");
      uint32_t seen = 0;
      do {
        asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(seen) : "l"(p.arrived) : "memory");
      } while (seen < i * gridDim.x);
    }
    __syncthreads();
  }
}

double median(std::vector<double> v) {
  std::sort(v.begin(), v.end());
  return v[v.size() / 2];
}

class Limits {
 public:
  explicit Limits(const DeviceShape& device)
      : device_(device), memory_(memory_bytes(), "the limits"), out_(256, "the limits") {
    // Nothing is zero: zeros read faster than data.
    check_cuda(cudaMemset(memory_.data(), 0x5a, memory_.bytes()), "the limits");
    out_.clear();
  }

  std::vector<DeviceLimit> measure() {
    for (const uint64_t mb : {8, 16, 32, 64, 128})
      add_read("cold_read", "chain of kernels, not in L2", mb * kMegabyte, true);
    for (const uint64_t mb : {8, 24, 40}) add_read("l2_read", "the same piece again and again", mb * kMegabyte, false);
    add_copy();
    add_launches(false);
    add_launches(true);
    for (const uint32_t per_sm : {1, 2}) add_barrier(per_sm);
    return std::move(limits_);
  }

 private:
  static uint64_t memory_bytes() {
    size_t free = 0, total = 0;
    check_cuda(cudaMemGetInfo(&free, &total), "free memory");
    return std::min<uint64_t>(kMemoryBytes, free / 2) / 256 * 256;
  }

  // Microseconds of one of the n launches that `launch` captures.
  template <class F>
  double graph_us(int n, F&& launch) {
    Graph graph;
    graph.capture(stream_.get(), launch);
    std::vector<double> us;
    for (int i = 0; i < 9; ++i) {
      const double time = watch_.us(stream_.get(), [&] { graph.replay(stream_.get()); });
      if (i >= 2) us.push_back(time);
    }
    return median(us) / n;
  }

  void read(Queue& queue, uint64_t offset, uint64_t bytes) {
    launch_kernel(queue, &read_kernel, dim3(2 * device_.n_sm), kThreads, 0,
                  ReadParams{.memory = reinterpret_cast<const uint4*>(memory_.data() + offset),
                             .n = bytes / sizeof(uint4),
                             .out = reinterpret_cast<uint32_t*>(out_.data())});
  }

  void add_read(const char* what, const char* detail, uint64_t bytes, bool rotate) {
    if (bytes > memory_.bytes()) return;
    const uint64_t n_pieces = memory_.bytes() / bytes, step = bytes / 256 * 256;
    const auto n = static_cast<int>(rotate ? n_pieces : 32);
    Queue queue{.stream = stream_.get()};
    const double us = graph_us(n, [&] {
      for (int i = 0; i < n; ++i) read(queue, rotate ? static_cast<uint64_t>(i) * step : 0, bytes);
    });
    limits_.push_back({what, detail, bytes, 0, us, static_cast<double>(bytes) / us / 1e3});
  }

  void add_copy() {
    const uint64_t half = memory_.bytes() / 2;
    std::vector<double> us;
    for (int i = 0; i < 7; ++i)
      us.push_back(watch_.us(stream_.get(), [&] {
        check_cuda(
            cudaMemcpyAsync(memory_.data() + half, memory_.data(), half, cudaMemcpyDeviceToDevice, stream_.get()),
            "copy");
      }));
    limits_.push_back(
        {"copy", "read + written", 2 * half, 0, median(us), static_cast<double>(2 * half) / median(us) / 1e3});
  }

  void add_launches(bool dependent) {
    Queue queue{.stream = stream_.get(), .dependent = false};
    const double us = graph_us(kLaunches, [&] {
      for (int i = 0; i < kLaunches; ++i) {
        queue.dependent = dependent && i > 0;
        launch_kernel(queue, &nothing_kernel, dim3(device_.n_sm), 128, 0, NothingParams{});
      }
    });
    limits_.push_back({dependent ? "empty_kernel_pdl" : "empty_kernel",
                       dependent ? "node of a graph, programmatic dependent launch" : "node of a graph", 0,
                       device_.n_sm, us, 0});
  }

  void add_barrier(uint32_t per_sm) {
    const uint32_t blocks = per_sm * device_.n_sm;
    std::vector<double> us;
    for (int i = 0; i < 5; ++i) {
      BarrierParams params{.arrived = reinterpret_cast<uint32_t*>(out_.data())};
      void* arguments[] = {&params};
      check_cuda(cudaMemsetAsync(out_.data(), 0, out_.bytes(), stream_.get()), "barrier");
      us.push_back(watch_.us(stream_.get(), [&] {
        check_cuda(cudaLaunchCooperativeKernel(reinterpret_cast<const void*>(&barrier_kernel), dim3(blocks), dim3(128),
                                               arguments, 0, stream_.get()),
                   "barrier");
      }));
    }
    limits_.push_back({"grid_barrier", "release add, acquire spin", 0, blocks, median(us) / kBarriers, 0});
  }

  const DeviceShape device_;
  const Stream stream_;
  const DeviceArena memory_, out_;
  const Stopwatch watch_;
  std::vector<DeviceLimit> limits_;
};

}  // namespace

std::vector<DeviceLimit> measure_limits(const DeviceShape& device) {
  std::vector<double> gbps;
  {
    const auto sweep = make_read_sweep(device);
    for (int i = 0; i < 3; ++i) gbps.push_back(sweep->pass_gbps());
  }
  std::vector<DeviceLimit> limits = Limits(device).measure();
  limits.insert(limits.begin(), {"read_sweep", "4 GiB once, or half of what is free", 0, 0, 0, median(gbps)});
  return limits;
}

}  // namespace stretto::cuda
