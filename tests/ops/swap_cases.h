// The cases of the ops of swap layers: single events, banks in several encodings, whole layers with and without a
// carried state.
#pragma once

#include <vector>

#include "ops/case_builder.h"

namespace stretto::test {

void add_swap_cases(std::vector<OpCase>& out);

}  // namespace stretto::test
