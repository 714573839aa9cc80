#pragma once
// Fused: a mixture-of-experts FFN with its norm and residual.
//   n = RmsNorm(x) * norm;   ids, weights = RouterTopK(router n)
//   out = x + sum_j weights[j] * w_down[ids[j]] (act(w_gate[ids[j]] n) * (w_up[ids[j]] n))
// decompose() is its definition.

#include "ops/add.h"
#include "ops/expert_linear.h"
#include "ops/expert_sum.h"
#include "ops/gated_act.h"
#include "ops/linear.h"
#include "ops/rms_norm.h"
#include "ops/router_top_k.h"

namespace stretto {

struct MoeBlock {
  static constexpr std::string_view kName = "MoeBlock";
  ValueId x;                      // [rows, d]; also the residual
  WeightId norm;                  // [d]
  WeightId router;                // [n_experts, d]
  WeightId w_gate, w_up, w_down;  // [n_experts, d_ff, d] twice, [n_experts, d, d_ff]
  ValueId out;                    // [rows, d]
  uint64_t top_k = 0;
  bool renormalise = true;
  float weight_scale = 1;
  float eps = 0;
  Activation act = Activation::kSilu;

  template <class Op, class V>
  static void tensors(Op& op, V& v) {
    v.in("x", op.x);
    v.weight("norm", op.norm);
    v.weight("router", op.router);
    v.weight("w_gate", op.w_gate);
    v.weight("w_up", op.w_up);
    v.weight("w_down", op.w_down);
    v.out("out", op.out);
  }
  void check(const Tables& t) const {
    const Shape &g = t[w_gate].shape, &u = t[w_up].shape, &d = t[w_down].shape;
    CHECK(g.rank() == 3 && g == u && d.rank() == 3 && d[0] == g[0] && d[1] == g[2] && d[2] == g[1]);
    CHECK(t[router].shape.rows() == g[0] && t[router].shape.cols() == t[x].width && g[2] == t[x].width);
    CHECK(top_k > 0 && top_k <= g[0] && t[out].width == t[x].width && t[norm].shape.elements() == t[x].width);
  }
  Cost cost(const Tables& t, const StepShape& s) const {
    const uint64_t rows = s.rows(t[x].rows), n_experts = t[w_gate].shape[0];
    const uint64_t touched = std::min(top_k * rows, n_experts);
    const uint64_t expert_bytes = (t[w_gate].bytes() + t[w_up].bytes() + t[w_down].bytes()) / n_experts;
    const uint64_t expert_elements = 3 * t[w_gate].shape[1] * t[w_gate].shape[2];
    return {.weight_bytes = t[norm].bytes() + t[router].bytes() + expert_bytes * touched,
            .activation_bytes = activation_bytes(*this, t, s),
            .flops = 2 * rows * (t[router].shape.elements() + top_k * expert_elements)};
  }
  template <class Emitter>
  void decompose(Emitter& e) const {
    const Tables& t = e.tables();
    const Rows rows = t[x].rows;
    const uint64_t n_experts = t[w_gate].shape[0], d_ff = t[w_gate].shape[1], d = t[x].width;
    const ValueId n = e.temp_like(x), logits = e.temp(n_experts, rows), ids = e.temp(top_k, rows, DType::kI32);
    const ValueId weights = e.temp(top_k, rows), gate = e.temp(top_k * d_ff, rows), up = e.temp(top_k * d_ff, rows);
    const ValueId hidden = e.temp(top_k * d_ff, rows), down = e.temp(top_k * d, rows), sum = e.temp_like(x);
    e.emit(RmsNorm{.x = x, .weight = norm, .out = n, .group = d, .eps = eps});
    e.emit(Linear{.x = n, .w = router, .bias = {}, .out = logits});
    e.emit(RouterTopK{.logits = logits,
                      .ids = ids,
                      .weights = weights,
                      .top_k = top_k,
                      .renormalise = renormalise,
                      .scale = weight_scale});
    e.emit(ExpertLinear{.x = n, .w = w_gate, .ids = ids, .out = gate});
    e.emit(ExpertLinear{.x = n, .w = w_up, .ids = ids, .out = up});
    e.emit(GatedAct{.gate = gate, .up = up, .out = hidden, .act = act});
    e.emit(ExpertLinear{.x = hidden, .w = w_down, .ids = ids, .out = down});
    e.emit(ExpertSum{.x = down, .weights = weights, .out = sum});
    e.emit(Add{.a = x, .b = sum, .out = out});
  }
};

}  // namespace stretto
