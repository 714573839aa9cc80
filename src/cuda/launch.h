// Launching kernels: one place that knows about programmatic dependent launch and checks what CUDA answers.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace stretto::cuda {

// Throws Error(kCuda) "what: the driver's words" unless `status` is cudaSuccess.
void check_cuda(cudaError_t status, const char* what);

// What kernels are launched into. Inside a step every launch depends on the one before it.
struct Queue {
  cudaStream_t stream = nullptr;
  bool dependent = false;   // programmatic dependent launch: a kernel may start before its predecessor has ended
  uint64_t n_launches = 0;  // counted for the reports
};

// When a kernel lets its dependents start (device/dependency.cuh).
enum class Trigger : uint8_t {
  kEntry,
  kAsked,  // when the copies of its own weights have been started, before its wait
  kInput   // when its input has come
};
// As measurements choose it: 0 leaves it as it is, 1 kInput, 2 kEntry, 3 kAsked.
constexpr Trigger trigger_of(uint32_t choice, Trigger otherwise) {
  return choice == 1 ? Trigger::kInput : choice == 2 ? Trigger::kEntry : choice == 3 ? Trigger::kAsked : otherwise;
}

// What tune() functions know of a device.
struct DeviceShape {
  uint32_t n_sm = 0;
  uint32_t shared_bytes_per_sm = 0;
  uint32_t shared_bytes_per_block = 0;  // the most that one block may ask for
  double peak_bytes_per_cycle = 12.8;   // of memory, for each multiprocessor, at nominal clocks; an H100's
};

// Lets a kernel use all the shared memory that the device has; the same carve-out for every kernel of a step, since a
// change of it costs microseconds.
template <class Params>
void prepare_kernel(void (*kernel)(Params), const DeviceShape& device) {
  const auto* f = reinterpret_cast<const void*>(kernel);
  cudaFuncAttributes attributes{};
  check_cuda(cudaFuncGetAttributes(&attributes, f), "attributes of a kernel");
  const auto rest = static_cast<int>(device.shared_bytes_per_block - attributes.sharedSizeBytes);
  check_cuda(cudaFuncSetAttribute(f, cudaFuncAttributeMaxDynamicSharedMemorySize, rest), "shared memory of a kernel");
  check_cuda(cudaFuncSetAttribute(f, cudaFuncAttributePreferredSharedMemoryCarveout, cudaSharedmemCarveoutMaxShared),
             "carve-out of a kernel");
}

// `attribute`, nullptr: none.
template <class Params>
void launch_with(Queue& queue, void (*kernel)(Params), dim3 grid, uint32_t threads, uint32_t shared_bytes,
                 const Params& params, cudaLaunchAttribute* attribute) {
  cudaLaunchConfig_t config{};
  config.gridDim = grid;
  config.blockDim = dim3(threads);
  config.dynamicSmemBytes = shared_bytes;
  config.stream = queue.stream;
  config.attrs = attribute;
  config.numAttrs = attribute != nullptr ? 1 : 0;
  check_cuda(cudaLaunchKernelEx(&config, kernel, params), "kernel launch");
  ++queue.n_launches;
}

// All blocks at once on the device, so that they may wait for each other; after everything before it has ended.
template <class Params>
void launch_cooperative_kernel(Queue& queue, void (*kernel)(Params), dim3 grid, uint32_t threads,
                               const Params& params) {
  cudaLaunchAttribute attribute{};
  attribute.id = cudaLaunchAttributeCooperative;
  attribute.val.cooperative = 1;
  launch_with(queue, kernel, grid, threads, 0, params, &attribute);
}

template <class Params>
void launch_kernel(Queue& queue, void (*kernel)(Params), dim3 grid, uint32_t threads, uint32_t shared_bytes,
                   const Params& params) {
  cudaLaunchAttribute attribute{};
  attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute.val.programmaticStreamSerializationAllowed = 1;
  launch_with(queue, kernel, grid, threads, shared_bytes, params, queue.dependent ? &attribute : nullptr);
}

}  // namespace stretto::cuda
