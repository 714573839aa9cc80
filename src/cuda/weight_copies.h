// Decoded copies of weights for the dense products of large steps, where memory allows.
#pragma once

#include <functional>
#include <string>

#include "cuda/machine.h"
#include "cuda/memory.h"

namespace stretto::cuda {

// Bytes of the copies of all matrices that large steps multiply with.
uint64_t copies_bytes(const Planner& planner);

// Decodes matrices that large steps multiply with, in the order of the program, as long as their copies fit into
// budget_bytes; m.matrices then point to them. `remark` takes a line that says what was taken. The stream of m.queue is
// idle afterwards.
DeviceArena copy_weights(const Planner& planner, uint64_t budget_bytes,
                         const std::function<void(const std::string&)>& remark, Machine& m);

}  // namespace stretto::cuda
