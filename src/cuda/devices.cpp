// What CUDA finds on this machine, and why something cannot be used.
#include <cuda_runtime.h>

#include "base/error.h"
#include "cuda/cuda_backend.h"

namespace stretto {
namespace {

std::string version_text(int version) { return fmt::format("{}.{}", version / 1000, version % 1000 / 10); }

// Kernels are compiled for 8.0 and later.
constexpr int kOldestMajor = 8;

CudaDevice examine(int index) {
  CudaDevice d{.index = index, .name = {}, .problem = {}};
  cudaDeviceProp properties{};
  if (const cudaError_t status = cudaGetDeviceProperties(&properties, index); status != cudaSuccess) {
    d.problem = cudaGetErrorString(status);
    return d;
  }
  d.name = properties.name;
  d.compute_major = properties.major;
  d.compute_minor = properties.minor;
  d.n_sm = properties.multiProcessorCount;
  d.total_bytes = properties.totalGlobalMem;
  if (d.compute_major < kOldestMajor) {
    d.problem =
        fmt::format("compute capability {}.{} is older than {}.0", d.compute_major, d.compute_minor, kOldestMajor);
    return d;
  }
  size_t free = 0, total = 0;
  cudaError_t status = cudaSetDevice(index);
  if (status == cudaSuccess) status = cudaMemGetInfo(&free, &total);
  if (status != cudaSuccess) d.problem = cudaGetErrorString(status);
  d.free_bytes = free;
  return d;
}

}  // namespace

CudaMachine cuda_machine() {
  CudaMachine m;
  int driver = 0, runtime = 0, count = 0;
  (void)cudaRuntimeGetVersion(&runtime);
  m.runtime = version_text(runtime);
  if (cudaDriverGetVersion(&driver) != cudaSuccess || driver == 0) {
    m.problem = "no NVIDIA driver is installed";
    return m;
  }
  m.driver = version_text(driver);
  if (driver / 1000 < runtime / 1000) {
    m.problem = fmt::format("the driver is for CUDA {}, this build needs {}", m.driver, m.runtime);
    return m;
  }
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status != cudaSuccess) {
    m.problem = cudaGetErrorString(status);
    (void)cudaGetLastError();
    return m;
  }
  for (int i = 0; i < count; ++i) m.devices.push_back(examine(i));
  if (m.devices.empty()) m.problem = "the driver sees no device";
  return m;
}

}  // namespace stretto
