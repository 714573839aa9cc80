// Weights whose format the kernels multiply from stored blocks, byte by byte.
#pragma once

#include <string>
#include <vector>

#include "program/program.h"

namespace stretto::cuda {

bool multiplies_stored_blocks(DType type);

// One sentence per format, with the weights' names where there are few. `program` is lowered.
std::vector<std::string> slow_weights(const Program& program);

}  // namespace stretto::cuda
