// --device: which backend runs the program. Only the commands choose one.
#pragma once

#include <memory>
#include <string>

#include "backend/backend.h"

namespace stretto::app {

struct DeviceOptions {
  std::string device = "auto";  // auto | cpu | oracle | cuda[:N]
  int n_threads = 0;            // 0: one per core
  std::string cpu_isa;          // force an instruction set: avx2, avx512, ...
};

// Says on stderr what was chosen. Throws Error(kBadArgument / kUnsupported).
std::unique_ptr<Backend> open_device(const DeviceOptions& options);

}  // namespace stretto::app
