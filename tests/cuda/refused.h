// What the CUDA backend has no kernels for yet.
#pragma once

#include <algorithm>

#include "ops/case_builder.h"

namespace stretto::test {

// Swap layers.
inline bool is_refused(const OpCase& c) {
  constexpr std::string_view kRefused[] = {"BankFfn", "SwapRoute", "StateRead", "StateWrite"};
  return std::ranges::any_of(c.program.nodes, [&](const Node& node) {
    return std::ranges::find(kRefused, op_name(node.op)) != std::end(kRefused);
  });
}

}  // namespace stretto::test
