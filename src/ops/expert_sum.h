#pragma once
// Weighted sum of the chosen experts' results, in the order they were chosen.
//   out[r, i] = sum_j weights[r, j] * x[r, j * width + i]

#include "ops/types.h"

namespace stretto {

struct ExpertSum {
  static constexpr std::string_view kName = "ExpertSum";
  ValueId x;        // [rows, top_k * width]
  ValueId weights;  // [rows, top_k]
  ValueId out;      // [rows, width]

  template <class Op, class V>
  static void tensors(Op& op, V& v) {
    v.in("x", op.x);
    v.in("weights", op.weights);
    v.out("out", op.out);
  }
  void check(const Tables& t) const { CHECK(t[x].width == t[weights].width * t[out].width); }
  Cost cost(const Tables& t, const StepShape& s) const {
    return {.activation_bytes = activation_bytes(*this, t, s), .flops = 2 * t[x].width * s.rows(t[x].rows)};
  }
};

}  // namespace stretto
