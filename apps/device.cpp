#include "device.h"

#include "base/error.h"
#include "cpu/cpu_backend.h"
#include "gpu_device.h"
#include "oracle/oracle_backend.h"
#include "terminal.h"

namespace stretto::app {

std::unique_ptr<Backend> open_device(const DeviceOptions& options) {
  const std::string& wanted = options.device;
  std::unique_ptr<Backend> backend;
  std::string reason;  // of a choice that nobody made
  const std::string problem = wanted == "auto" ? cuda_problem() : std::string();
  if (wanted == "auto" && problem.empty()) {
    backend = open_cuda("cuda", options);
  } else if (wanted == "auto" || wanted == "cpu") {
    if (!problem.empty()) reason = "; cuda: " + problem;
    backend = make_cpu_backend({.n_threads = options.n_threads, .isa = options.cpu_isa});
  } else if (wanted == "oracle") {
    backend = make_oracle_backend();
  } else if (wanted.starts_with("cuda")) {
    backend = open_cuda(wanted, options);
  } else {
    fail(ErrorKind::kBadArgument, "--device {}: known devices are cpu, oracle and cuda[:N]", wanted);
  }
  remark(fmt::format("device: {} ({}{})", backend->name(), backend->description(), reason));
  return backend;
}

}  // namespace stretto::app
