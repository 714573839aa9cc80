// The rate at which this device reads memory: the denominator of every share of the floor.
#pragma once

#include <memory>

#include "backend/backend.h"
#include "cuda/launch.h"

namespace stretto::cuda {

// Read-only passes over 4 GiB, or half of what is free if that is less. Throws Error(kCuda).
std::unique_ptr<ReadSweep> make_read_sweep(const DeviceShape& device);

}  // namespace stretto::cuda
