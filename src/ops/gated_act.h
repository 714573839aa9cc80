#pragma once
// Gated activation of an FFN.
//   out = act(gate) * up          silu(z) = z / (1 + exp(-z))
//                                 gelu_tanh(z) = 0.5 z (1 + tanh(sqrt(2/pi) (z + 0.044715 z^3)))

#include "ops/types.h"

namespace stretto {

enum class Activation : uint8_t { kSilu, kGeluTanh };

struct GatedAct {
  static constexpr std::string_view kName = "GatedAct";
  ValueId gate, up, out;  // [rows, width] each
  Activation act = Activation::kSilu;

  template <class Op, class V>
  static void tensors(Op& op, V& v) {
    v.in("gate", op.gate);
    v.in("up", op.up);
    v.out("out", op.out);
  }
  void check(const Tables& t) const {
    CHECK(t[gate].width == t[up].width && t[gate].width == t[out].width);
    CHECK(t[gate].rows == t[up].rows && t[gate].rows == t[out].rows);
  }
  Cost cost(const Tables& t, const StepShape& s) const {
    return {.activation_bytes = activation_bytes(*this, t, s), .flops = 6 * t[out].width * s.rows(t[out].rows)};
  }
};

}  // namespace stretto
