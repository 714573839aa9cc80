#include <dlfcn.h>

#include <filesystem>

#include "base/error.h"
#include "gpu_device.h"

namespace stretto::app {

std::string cuda_problem() { return "this build has no CUDA backend"; }

// A GPU is looked for even where this build cannot use it, so that the answer names the reason.
std::string cuda_report() {
  const bool device = std::filesystem::exists("/dev/nvidiactl");
  void* driver = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_LOCAL);
  std::string detail = device ? "an NVIDIA device node is here" : "no NVIDIA device (/dev/nvidiactl is absent)";
  detail += driver != nullptr ? ", the driver library is installed" : ", libcuda.so.1 is not installed";
  if (driver != nullptr) dlclose(driver);
  return detail + "; this build has no CUDA backend";
}

std::unique_ptr<Backend> open_cuda(const std::string& wanted, const DeviceOptions&) {
  fail(ErrorKind::kUnsupported, "--device {}: this build has no CUDA backend; --device cpu runs everywhere", wanted);
}

}  // namespace stretto::app
