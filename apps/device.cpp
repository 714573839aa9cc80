#include "device.h"

#include "base/error.h"
#include "cpu/cpu_backend.h"
#include "oracle/oracle_backend.h"
#include "terminal.h"

namespace stretto::app {

std::unique_ptr<Backend> open_device(const DeviceOptions& options) {
  const std::string& wanted = options.device;
  std::unique_ptr<Backend> backend;
  if (wanted == "auto" || wanted == "cpu") {
    backend = make_cpu_backend({.n_threads = options.n_threads, .isa = options.cpu_isa});
  } else if (wanted == "oracle") {
    backend = make_oracle_backend();
  } else if (wanted.starts_with("cuda")) {
    fail(ErrorKind::kUnsupported, "--device {}: this build has no CUDA backend; --device cpu runs everywhere", wanted);
  } else {
    fail(ErrorKind::kBadArgument, "--device {}: known devices are cpu, oracle and cuda[:N]", wanted);
  }
  remark(fmt::format("device: {} ({})", backend->name(), backend->description()));
  return backend;
}

}  // namespace stretto::app
