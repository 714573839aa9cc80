// The machine's read bandwidth, measured: what decoding can reach at best.
#pragma once

#include <memory>

#include "backend/backend.h"

namespace stretto::cpu {

// Read-only passes over 1 GiB (less when memory is short) with `n_threads` threads. Throws Error(kHostMemory).
std::unique_ptr<ReadSweep> make_read_sweep(int n_threads);

}  // namespace stretto::cpu
