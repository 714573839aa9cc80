// What this device can do at best, measured: the numbers that a decode step is compared with.
#pragma once

#include <vector>

#include "backend/instruments.h"
#include "cuda/launch.h"

namespace stretto::cuda {

// Takes up to 5 GiB of device memory meanwhile. Throws Error(kCuda).
std::vector<DeviceLimit> measure_limits(const DeviceShape& device);

}  // namespace stretto::cuda
