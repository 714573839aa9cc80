#pragma once
// Token embedding.
//   out[t, :] = scale * table[token[t], :]

#include "ops/types.h"

namespace stretto {

struct Embed {
  static constexpr std::string_view kName = "Embed";
  WeightId table;  // [vocab, d]
  ValueId out;     // [tokens, d]
  float scale = 1;

  template <class Op, class V>
  static void tensors(Op& op, V& v) {
    v.weight("table", op.table);
    v.out("out", op.out);
  }
  void check(const Tables& t) const {
    CHECK(t[table].shape.rank() == 2);
    CHECK(t[out].width == t[table].shape.cols() && t[out].rows == Rows::kTokens);
  }
  // One row of the table per token.
  Cost cost(const Tables& t, const StepShape& s) const {
    const uint64_t row = row_bytes(t[table].type, t[table].shape.cols());
    return {.weight_bytes = row * s.n_tokens, .activation_bytes = activation_bytes(*this, t, s)};
  }
};

}  // namespace stretto
