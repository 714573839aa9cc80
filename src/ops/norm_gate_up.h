#pragma once
// Fused: the first half of a gated FFN.
//   n = RmsNorm(x) * norm;   out = act(w_gate n + b_gate) * (w_up n + b_up)
// decompose() is its definition.

#include "ops/gated_act.h"
#include "ops/linear.h"
#include "ops/rms_norm.h"

namespace stretto {

struct NormGateUp {
  static constexpr std::string_view kName = "NormGateUp";
  ValueId x;              // [rows, d]
  WeightId norm;          // [d]
  WeightId w_gate, w_up;  // [d_ff, d]
  WeightId b_gate, b_up;  // [d_ff], optional
  ValueId out;            // [rows, d_ff]
  float eps = 0;
  Activation act = Activation::kSilu;

  template <class Op, class V>
  static void tensors(Op& op, V& v) {
    v.in("x", op.x);
    v.weight("norm", op.norm);
    v.weight("w_gate", op.w_gate);
    v.weight("w_up", op.w_up);
    v.weight("b_gate", op.b_gate);
    v.weight("b_up", op.b_up);
    v.out("out", op.out);
  }
  void check(const Tables& t) const {
    CHECK(t[norm].shape.elements() == t[x].width);
    Linear{.x = x, .w = w_gate, .bias = b_gate, .out = out}.check(t);
    Linear{.x = x, .w = w_up, .bias = b_up, .out = out}.check(t);
  }
  Cost cost(const Tables& t, const StepShape& s) const {
    const Cost gate = Linear{.x = x, .w = w_gate, .bias = b_gate, .out = out}.cost(t, s);
    const Cost up = Linear{.x = x, .w = w_up, .bias = b_up, .out = out}.cost(t, s);
    const uint64_t rows = s.rows(t[x].rows);
    return {.weight_bytes = t[norm].bytes() + gate.weight_bytes + up.weight_bytes,
            .activation_bytes = activation_bytes(*this, t, s),
            .flops = gate.flops + up.flops + 4 * t[x].width * rows + 6 * t[out].width * rows};
  }
  template <class Emitter>
  void decompose(Emitter& e) const {
    const ValueId n = e.temp_like(x), gate = e.temp_like(out), up = e.temp_like(out);
    e.emit(RmsNorm{.x = x, .weight = norm, .out = n, .group = e.tables()[x].width, .eps = eps});
    e.emit(Linear{.x = n, .w = w_gate, .bias = b_gate, .out = gate});
    e.emit(Linear{.x = n, .w = w_up, .bias = b_up, .out = up});
    e.emit(GatedAct{.gate = gate, .up = up, .out = out, .act = act});
  }
};

}  // namespace stretto
