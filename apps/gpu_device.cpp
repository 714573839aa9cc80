#include "gpu_device.h"

#include <charconv>

#include "base/error.h"
#include "cuda/cuda_backend.h"
#include "program/print.h"
#include "terminal.h"

namespace stretto::app {
namespace {

int device_index(const std::string& wanted) {
  if (wanted == "cuda") return 0;
  int index = 0;
  const char *begin = wanted.data() + 5, *end = wanted.data() + wanted.size();
  const auto [stop, error] = std::from_chars(begin, end, index);
  if (wanted[4] != ':' || error != std::errc{} || stop != end)
    fail(ErrorKind::kBadArgument, "--device {}: wanted cuda or cuda:N", wanted);
  return index;
}

}  // namespace

std::string cuda_problem() {
  const CudaMachine m = cuda_machine();
  if (!m.problem.empty()) return m.problem;
  const CudaDevice& d = m.devices.front();
  return d.usable() ? std::string() : d.name + ": " + d.problem;
}

std::string cuda_report() {
  const CudaMachine m = cuda_machine();
  std::string out = m.driver.empty() ? "" : "driver " + cuda_driver_version() + " for CUDA " + m.driver + ", ";
  out += "this build: CUDA " + m.runtime;
  if (!m.problem.empty()) out += "; " + m.problem;
  for (const CudaDevice& d : m.devices) {
    out += fmt::format("; cuda:{} {}, compute capability {}.{}, {} multiprocessors, {} free of {}, {}{}", d.index,
                       d.name, d.compute_major, d.compute_minor, d.n_sm, human_bytes(d.free_bytes),
                       human_bytes(d.total_bytes), cuda_sensors(d.index), d.usable() ? "" : ", unusable: " + d.problem);
  }
  return out;
}

std::unique_ptr<Backend> open_cuda(const std::string& wanted, const DeviceOptions& options) {
  // Who asks for another way of launching kernels wants kernels.
  const bool kernels = options.no_graph || options.no_pdl;
  const DecodePath decode = options.decode == "stream"             ? DecodePath::kStream
                            : options.decode == "auto" && !kernels ? DecodePath::kAuto
                                                                   : DecodePath::kGraph;
  return make_cuda_backend({.device = device_index(wanted),
                            .graph = !options.no_graph,
                            .dependent_launch = !options.no_pdl,
                            .weight_copies = !options.no_weight_copies,
                            .decode = decode,
                            .remark = remark});
}

}  // namespace stretto::app
