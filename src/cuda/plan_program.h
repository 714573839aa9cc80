// What a program needs from a device, before anything is allocated.
#pragma once

#include "cuda/machine.h"

namespace stretto::cuda {

// `program` is lowered for this backend and outlives the result.
Planner plan_program(const Program& program, const CompileOptions& options, const DeviceShape& device);

}  // namespace stretto::cuda
