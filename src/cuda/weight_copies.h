// Decoded copies of weights for the dense products of large steps, where memory allows.
#pragma once

#include "cuda/machine.h"
#include "cuda/memory.h"

namespace stretto::cuda {

// Decodes matrices that large steps multiply with, in the order of the program, as long as their copies fit into
// budget_bytes; m.matrices then point to them. Says on stderr what was taken. The stream of m.queue is idle afterwards.
DeviceArena copy_weights(const Planner& planner, uint64_t budget_bytes, Machine& m);

}  // namespace stretto::cuda
