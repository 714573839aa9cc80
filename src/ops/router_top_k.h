#pragma once
// Chooses experts: softmax over all, the top_k largest (ties: the lower index first), optionally renormalised.
//   p = softmax(logits[r, :]);  S = top_k of p;  weights[r, j] = scale * p[S_j] / (renormalise ? max(sum_S p, 2^-14) :
//   1)
// The floor of the sum is the smallest normal binary16, as the GGUF reference has it.

#include "ops/types.h"

namespace stretto {

inline constexpr double kRouterSumFloor = 6.103515625e-5;

struct RouterTopK {
  static constexpr std::string_view kName = "RouterTopK";
  ValueId logits;   // [rows, n_experts]
  ValueId ids;      // [rows, top_k] I32
  ValueId weights;  // [rows, top_k]
  uint64_t top_k = 0;
  bool renormalise = true;
  float scale = 1;

  template <class Op, class V>
  static void tensors(Op& op, V& v) {
    v.in("logits", op.logits);
    v.out("ids", op.ids);
    v.out("weights", op.weights);
  }
  void check(const Tables& t) const {
    CHECK(top_k > 0 && top_k <= t[logits].width);
    CHECK(t[ids].width == top_k && t[ids].type == DType::kI32 && t[weights].width == top_k);
  }
  Cost cost(const Tables& t, const StepShape& s) const {
    return {.activation_bytes = activation_bytes(*this, t, s), .flops = 5 * t[logits].width * s.rows(t[logits].rows)};
  }
};

}  // namespace stretto
