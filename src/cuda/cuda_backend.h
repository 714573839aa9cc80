// NVIDIA GPUs as a backend.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "backend/backend.h"

namespace stretto {

// How a decode step runs (docs/stream.md).
enum class DecodePath {
  kGraph,   // one kernel per op, captured in a graph: every device and program
  kStream,  // one persistent kernel for whole tokens: sm_90 and later; Error(kUnsupported) where it cannot run
  kAuto,    // the faster of the two, measured when a greedy loop begins, at its position (once per doubling of it from
            // 2048 on); a remark says what was chosen and why
};

struct CudaOptions {
  int device = 0;
  bool graph = true;             // replay a decode step as one captured graph, else launch its kernels one by one
  bool dependent_launch = true;  // programmatic dependent launch between the kernels of a step (sm_90 and later)
  bool weight_copies = true;     // decoded weights for large steps, in up to half of the free memory
  uint64_t guard_bytes = 0;      // for tests: gaps around every buffer (cuda/memory.h)
  DecodePath decode = DecodePath::kGraph;
  std::function<void(const std::string&)> remark = {};  // takes a line that the user should see; empty: stderr
};

// What the machine has. Never throws: `problem` says why a device, or CUDA as a whole, cannot be used.
struct CudaDevice {
  int index = -1;
  std::string name;
  int compute_major = 0, compute_minor = 0;
  int n_sm = 0;
  uint64_t total_bytes = 0, free_bytes = 0;
  std::string problem;  // empty: usable
  bool usable() const { return problem.empty(); }
};
struct CudaMachine {
  std::string driver;   // "13.0", empty without a driver
  std::string runtime;  // of this build
  std::string problem;  // why there are no devices
  std::vector<CudaDevice> devices;
};
CudaMachine cuda_machine();

// The driver's own version ("580.95.05", empty where it is unknown), and what the sensors of a device say now (clocks,
// power, temperature, or why they are unknown). Through the management library: some 10 ms.
std::string cuda_driver_version();
std::string cuda_sensors(int index);

// Throws Error(kCuda) with the reason where the device cannot be used.
std::unique_ptr<Backend> make_cuda_backend(const CudaOptions& options);

}  // namespace stretto
