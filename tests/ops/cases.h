// The cases of every op: shapes off the lanes' grid, every weight encoding, steps of 1, 3 and 17 tokens and more.
#pragma once

#include <vector>

#include "ops/case_builder.h"

namespace stretto::test {

const std::vector<OpCase>& op_cases();

}  // namespace stretto::test
