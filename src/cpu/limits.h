// What this machine's memory and threads can do at best, measured.
#pragma once

#include <vector>

#include "backend/instruments.h"

namespace stretto::cpu {

// Read sweeps and barriers at 1 .. n_threads threads. Throws Error(kHostMemory).
std::vector<DeviceLimit> measure_limits(int n_threads);

}  // namespace stretto::cpu
