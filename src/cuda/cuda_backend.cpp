#include "cuda/cuda_backend.h"

#include <fmt/format.h>

#include <cstdio>
#include <thread>

#include "base/error.h"
#include "cuda/executable.h"
#include "cuda/limits.h"
#include "cuda/nvml.h"
#include "cuda/ops.h"
#include "cuda/plan_program.h"
#include "cuda/prepare.h"
#include "cuda/read_sweep.h"
#include "cuda/slow_weights.h"
#include "cuda/weight_copies.h"
#include "program/lower.h"

namespace stretto {
namespace {

// Forwards to the overloads of cuda::supports; an op without one is expanded.
struct CudaKernels {
  template <class T>
  requires requires(const T& op, const Tables& t) { cuda::supports(op, t); }
  static bool supports(const T& op, const Tables& t) { return cuda::supports(op, t); }
};

CudaDevice usable_device(int index) {
  const CudaMachine machine = cuda_machine();
  if (!machine.problem.empty()) fail(ErrorKind::kCuda, "--device cuda: {}", machine.problem);
  if (index < 0 || static_cast<size_t>(index) >= machine.devices.size())
    fail(ErrorKind::kBadArgument, "--device cuda:{}: this machine has {} CUDA devices", index, machine.devices.size());
  const CudaDevice& d = machine.devices[static_cast<size_t>(index)];
  if (!d.usable()) fail(ErrorKind::kCuda, "--device cuda:{}: {}: {}", index, d.name, d.problem);
  return d;
}

class CudaBackend : public Backend {
 public:
  explicit CudaBackend(const CudaOptions& options) : options_(options), device_(usable_device(options.device)) {
    cuda::check_cuda(cudaSetDevice(device_.index), "choice of the device");
    shape_.n_sm = static_cast<uint32_t>(device_.n_sm);
    shape_.shared_bytes_per_sm = attribute(cudaDevAttrMaxSharedMemoryPerMultiprocessor);
    shape_.shared_bytes_per_block = attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin);
    const double cycles = 1e3 * shape_.n_sm * attribute(cudaDevAttrClockRate);
    const double bytes = 2e3 / 8 * attribute(cudaDevAttrMemoryClockRate) * attribute(cudaDevAttrGlobalMemoryBusWidth);
    if (cycles > 0 && bytes > 0) shape_.peak_bytes_per_cycle = bytes / cycles;
    options_.dependent_launch = options_.dependent_launch && device_.compute_major >= 9;
    cuda::prepare_kernels(shape_);
    free_at_start_ = free_bytes();
  }

  std::string name() const override { return fmt::format("cuda:{}", device_.index); }
  std::string description() const override {
    return fmt::format("{}, compute capability {}.{}, {} multiprocessors, {:.1f} GB{}{}", device_.name,
                       device_.compute_major, device_.compute_minor, device_.n_sm,
                       static_cast<double>(device_.total_bytes) / 1e9, options_.graph ? "" : ", no graph",
                       options_.dependent_launch ? "" : ", no dependent launch");
  }
  uint64_t available_bytes() const override {
    const uint64_t free = free_bytes();
    return free > kReserve ? free - kReserve : 0;
  }
  uint64_t taken_bytes() const override {
    const uint64_t free = free_bytes();
    return free < free_at_start_ ? free_at_start_ - free : 0;
  }
  int thread_count() const override { return 1; }
  uint64_t prefill_tokens() const override { return 2048; }
  std::unique_ptr<ReadSweep> make_read_sweep() const override { return cuda::make_read_sweep(shape_); }
  std::vector<DeviceLimit> measure_limits() const override { return cuda::measure_limits(shape_); }
  std::unique_ptr<DeviceWatch> make_watch() const override { return cuda::make_device_watch(device_.index); }
  std::vector<std::string> slow_weights(const Program& lowered) const override { return cuda::slow_weights(lowered); }
  uint64_t optional_bytes(const Program& lowered, const CompileOptions& options) const override {
    return options_.weight_copies ? cuda::copies_bytes(cuda::plan_program(lowered, options, shape_)) : 0;
  }
  Program lower(const Program& program) const override { return stretto::lower<CudaKernels>(program); }
  std::unique_ptr<Executable> compile(const Program& program, const CompileOptions& options) const override {
    cuda::check_cuda(cudaSetDevice(device_.index), "choice of the device");
    const int threads = std::clamp(static_cast<int>(std::thread::hardware_concurrency()), 1, kMaxPackThreads);
    const auto remark =
        options_.remark ? options_.remark : [](const std::string& line) { std::fprintf(stderr, "%s\n", line.c_str()); };
    return std::make_unique<cuda::CudaExecutable>(lower(program), options,
                                                  cuda::ExecutableOptions{.device = device_.index,
                                                                          .graph = options_.graph,
                                                                          .dependent_launch = options_.dependent_launch,
                                                                          .weight_copies = options_.weight_copies,
                                                                          .n_threads = threads,
                                                                          .guard_bytes = options_.guard_bytes,
                                                                          .decode = options_.decode,
                                                                          .has_stream = device_.compute_major >= 9,
                                                                          .remark = remark},
                                                  shape_);
  }

 private:
  static constexpr uint64_t kReserve = 1 << 30;  // scratch, the library of dense products, the driver's own
  static constexpr int kMaxPackThreads = 32;

  static uint64_t free_bytes() {
    size_t free = 0, total = 0;
    cuda::check_cuda(cudaMemGetInfo(&free, &total), "free memory");
    return free;
  }
  uint32_t attribute(cudaDeviceAttr which) const {
    int value = 0;
    cuda::check_cuda(cudaDeviceGetAttribute(&value, which, device_.index), "device attribute");
    return static_cast<uint32_t>(value);
  }

  CudaOptions options_;
  const CudaDevice device_;
  cuda::DeviceShape shape_;
  uint64_t free_at_start_ = 0;
};

}  // namespace

std::unique_ptr<Backend> make_cuda_backend(const CudaOptions& options) {
  return std::make_unique<CudaBackend>(options);
}

}  // namespace stretto
