#pragma once
// Fused: a product added to the residual stream.
//   out = residual + w x + bias
// decompose() is its definition.

#include "ops/add.h"
#include "ops/linear.h"

namespace stretto {

struct LinearAdd {
  static constexpr std::string_view kName = "LinearAdd";
  ValueId x;         // [rows, n_in]
  WeightId w;        // [n_out, n_in]
  WeightId bias;     // [n_out], optional
  ValueId residual;  // [rows, n_out]
  ValueId out;       // [rows, n_out]

  template <class Op, class V>
  static void tensors(Op& op, V& v) {
    v.in("x", op.x);
    v.weight("w", op.w);
    v.weight("bias", op.bias);
    v.in("residual", op.residual);
    v.out("out", op.out);
  }
  void check(const Tables& t) const {
    Linear{.x = x, .w = w, .bias = bias, .out = out}.check(t);
    CHECK(t[residual].width == t[out].width && t[residual].rows == t[out].rows);
  }
  Cost cost(const Tables& t, const StepShape& s) const {
    Cost c = Linear{.x = x, .w = w, .bias = bias, .out = out}.cost(t, s);
    c.activation_bytes = activation_bytes(*this, t, s);
    c.flops += t[out].width * s.rows(t[out].rows);
    return c;
  }
  template <class Emitter>
  void decompose(Emitter& e) const {
    const ValueId y = e.temp_like(out);
    e.emit(Linear{.x = x, .w = w, .bias = bias, .out = y});
    e.emit(Add{.a = residual, .b = y, .out = out});
  }
};

}  // namespace stretto
