#pragma once
// Fused: one step of a gated FFN whose weights are one of several banks, chosen per row while the step runs.
//   n = RmsNorm(x) * norm;   out = x + w_down[bank] (act(w_gate[bank] n) * (w_up[bank] n))
// decompose() is its definition.

#include "ops/add.h"
#include "ops/expert_linear.h"
#include "ops/gated_act.h"
#include "ops/rms_norm.h"

namespace stretto {

struct BankFfn {
  static constexpr std::string_view kName = "BankFfn";
  ValueId x;                      // [rows, d]; also the residual
  ValueId bank;                   // [rows, 1] I32
  WeightId norm;                  // [d]
  WeightId w_gate, w_up, w_down;  // [n_banks, d_ff, d] twice, [n_banks, d, d_ff]
  ValueId out;                    // [rows, d]
  float eps = 0;
  Activation act = Activation::kSilu;

  template <class Op, class V>
  static void tensors(Op& op, V& v) {
    v.in("x", op.x);
    v.in("bank", op.bank);
    v.weight("norm", op.norm);
    v.weight("w_gate", op.w_gate);
    v.weight("w_up", op.w_up);
    v.weight("w_down", op.w_down);
    v.out("out", op.out);
  }
  void check(const Tables& t) const {
    const Shape &g = t[w_gate].shape, &u = t[w_up].shape, &d = t[w_down].shape;
    CHECK(g.rank() == 3 && g == u && d.rank() == 3 && d[0] == g[0] && d[1] == g[2] && d[2] == g[1]);
    CHECK(g[2] == t[x].width && t[out].width == t[x].width && t[norm].shape.elements() == t[x].width);
    CHECK(t[bank].type == DType::kI32 && t[bank].width == 1);
  }
  // At most every bank once per step.
  Cost cost(const Tables& t, const StepShape& s) const {
    const uint64_t rows = s.rows(t[x].rows), n_banks = t[w_gate].shape[0];
    const uint64_t bank_bytes = (t[w_gate].bytes() + t[w_up].bytes() + t[w_down].bytes()) / n_banks;
    return {.weight_bytes = t[norm].bytes() + bank_bytes * std::min(rows, n_banks),
            .activation_bytes = activation_bytes(*this, t, s),
            .flops = rows * (6 * t[w_gate].shape[1] * t[w_gate].shape[2] + 5 * t[x].width + 6 * t[w_gate].shape[1])};
  }
  template <class Emitter>
  void decompose(Emitter& e) const {
    const Tables& t = e.tables();
    const Rows rows = t[x].rows;
    const uint64_t d_ff = t[w_gate].shape[1], d = t[x].width;
    const ValueId n = e.temp_like(x), gate = e.temp(d_ff, rows), up = e.temp(d_ff, rows), hidden = e.temp(d_ff, rows);
    const ValueId down = e.temp_like(x);
    e.emit(RmsNorm{.x = x, .weight = norm, .out = n, .group = d, .eps = eps});
    e.emit(ExpertLinear{.x = n, .w = w_gate, .ids = bank, .out = gate});
    e.emit(ExpertLinear{.x = n, .w = w_up, .ids = bank, .out = up});
    e.emit(GatedAct{.gate = gate, .up = up, .out = hidden, .act = act});
    e.emit(ExpertLinear{.x = hidden, .w = w_down, .ids = bank, .out = down});
    e.emit(Add{.a = x, .b = down, .out = out});
  }
};

}  // namespace stretto
