#pragma once
// Keeps the rows whose logits are wanted, so that the last norm and the head run on those alone.
//   out[o, :] = x[output_row[o], :]

#include "ops/types.h"

namespace stretto {

struct TakeOutputs {
  static constexpr std::string_view kName = "TakeOutputs";
  ValueId x;    // [tokens, width]
  ValueId out;  // [outputs, width]

  template <class Op, class V>
  static void tensors(Op& op, V& v) {
    v.in("x", op.x);
    v.out("out", op.out);
  }
  void check(const Tables& t) const {
    CHECK(t[x].rows == Rows::kTokens && t[out].rows == Rows::kOutputs && t[x].width == t[out].width);
  }
  Cost cost(const Tables& t, const StepShape& s) const { return {.activation_bytes = 2 * value_bytes(t, out, s)}; }
};

}  // namespace stretto
