#pragma once
// Sum of two values (the residual stream).
//   out = a + b

#include "ops/types.h"

namespace stretto {

struct Add {
  static constexpr std::string_view kName = "Add";
  ValueId a, b, out;  // [rows, width] each

  template <class Op, class V>
  static void tensors(Op& op, V& v) {
    v.in("a", op.a);
    v.in("b", op.b);
    v.out("out", op.out);
  }
  void check(const Tables& t) const {
    CHECK(t[a].width == t[b].width && t[a].width == t[out].width);
    CHECK(t[a].rows == t[b].rows && t[a].rows == t[out].rows);
  }
  Cost cost(const Tables& t, const StepShape& s) const {
    return {.activation_bytes = activation_bytes(*this, t, s), .flops = t[out].width * s.rows(t[out].rows)};
  }
};

}  // namespace stretto
