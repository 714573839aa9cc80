// The rate at which this device reads memory: the denominator of every share of the floor.
#pragma once

#include "cuda/launch.h"

namespace stretto::cuda {

// Read-only sweeps over 4 GiB, or half of what is free if that is less; GB/s (1e9 bytes), the median of several.
double read_sweep_gbps(const DeviceShape& device);

}  // namespace stretto::cuda
