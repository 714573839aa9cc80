#pragma once
// Matrix product with a weight.
//   out[r, o] = sum_i w[o, i] * x[r, i] + bias[o]                           bias absent: 0

#include "ops/types.h"

namespace stretto {

struct Linear {
  static constexpr std::string_view kName = "Linear";
  ValueId x;      // [rows, n_in]
  WeightId w;     // [n_out, n_in]
  WeightId bias;  // [n_out], optional
  ValueId out;    // [rows, n_out]

  template <class Op, class V>
  static void tensors(Op& op, V& v) {
    v.in("x", op.x);
    v.weight("w", op.w);
    v.weight("bias", op.bias);
    v.out("out", op.out);
  }
  void check(const Tables& t) const {
    CHECK(t[w].shape.rank() == 2 && t[w].shape.cols() == t[x].width && t[w].shape.rows() == t[out].width);
    CHECK(t[out].rows == t[x].rows);
    CHECK(!bias || t[bias].shape.elements() == t[out].width);
  }
  Cost cost(const Tables& t, const StepShape& s) const {
    return {.weight_bytes = t[w].bytes() + (bias ? t[bias].bytes() : 0),
            .activation_bytes = activation_bytes(*this, t, s),
            .flops = 2 * t[w].shape.elements() * s.rows(t[x].rows)};
  }
};

}  // namespace stretto
