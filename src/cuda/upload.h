// Fills the weights of a machine: packs them on the host and copies them to the device, both at the same time.
#pragma once

#include "cuda/machine.h"
#include "cuda/memory.h"

namespace stretto::cuda {

// Makes m.matrices and m.vectors for what the planner collected, in one new arena. n_threads pack.
DeviceArena upload_weights(const Planner& planner, int n_threads, Machine& m);

}  // namespace stretto::cuda
