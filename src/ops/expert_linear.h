#pragma once
// Matrix product with the chosen experts' weights.
//   out[r, j * n_out + o] = sum_i w[ids[r, j], o, i] * x[r, (shared ? 0 : j * n_in) + i]       j < top_k
// shared: x holds one vector per row (gate, up); otherwise one per chosen expert (down).

#include <algorithm>

#include "ops/types.h"

namespace stretto {

struct ExpertLinear {
  static constexpr std::string_view kName = "ExpertLinear";
  ValueId x;    // [rows, n_in] or [rows, top_k * n_in]
  WeightId w;   // [n_experts, n_out, n_in]
  ValueId ids;  // [rows, top_k] I32
  ValueId out;  // [rows, top_k * n_out]

  template <class Op, class V>
  static void tensors(Op& op, V& v) {
    v.in("x", op.x);
    v.weight("w", op.w);
    v.in("ids", op.ids);
    v.out("out", op.out);
  }
  uint64_t n_in(const Tables& t) const { return t[w].shape[2]; }
  uint64_t n_out(const Tables& t) const { return t[w].shape[1]; }
  uint64_t top_k(const Tables& t) const { return t[ids].width; }
  bool shared(const Tables& t) const { return t[x].width == n_in(t); }
  void check(const Tables& t) const {
    CHECK(t[w].shape.rank() == 3 && t[ids].type == DType::kI32);
    CHECK(shared(t) || t[x].width == top_k(t) * n_in(t));
    CHECK(t[out].width == top_k(t) * n_out(t));
  }
  // At most every expert once per step.
  Cost cost(const Tables& t, const StepShape& s) const {
    const uint64_t uses = top_k(t) * s.rows(t[x].rows);
    const uint64_t touched = std::min(uses, t[w].shape[0]);
    return {.weight_bytes = t[w].bytes() / t[w].shape[0] * touched,
            .activation_bytes = activation_bytes(*this, t, s),
            .flops = 2 * n_in(t) * n_out(t) * uses};
  }
};

}  // namespace stretto
