// --device: which backend runs the program. Only the commands choose one.
#pragma once

#include <memory>
#include <string>

#include "backend/backend.h"

namespace stretto::app {

struct DeviceOptions {
  std::string device = "auto";    // auto | cpu | oracle | cuda[:N]
  int n_threads = 0;              // 0: one per core
  std::string cpu_isa;            // force an instruction set: avx2, avx512, ...
  bool no_graph = false;          // CUDA: launch the kernels of a decode step one by one
  bool no_pdl = false;            // CUDA: no programmatic dependent launch
  bool no_weight_copies = false;  // CUDA: decode weights for every prefill step instead of once
  std::string decode = "auto";    // CUDA: graph | stream | auto
};

// Says on stderr what was chosen, for "auto" also why not CUDA. Throws Error(kBadArgument / kUnsupported).
std::unique_ptr<Backend> open_device(const DeviceOptions& options);

}  // namespace stretto::app
