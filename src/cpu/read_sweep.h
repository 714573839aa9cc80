// The machine's read bandwidth, measured: what decoding can reach at best.
#pragma once

namespace stretto::cpu {

// Best of several read-only passes over 1 GiB (less when memory is short) with `n_threads` threads, GB/s (1e9 bytes).
// Takes about a second. Throws Error(kHostMemory).
double read_sweep_gbps(int n_threads);

}  // namespace stretto::cpu
