#pragma once
// The end of a swap layer: one stream's row joins the residual stream.
//   q   = w (RmsNorm(v) * norm) + bias;   i = argmax(q)                ties: the lowest i
//   out = residual + ram[(map >> 2 i) & 3]
// Source: docs/swap-ffn.md. The logits are float32 dot products.

#include "ops/swap_streams.h"

namespace stretto {

struct SwapCollapse {
  static constexpr std::string_view kName = "SwapCollapse";
  ValueId v;         // [tokens, d]
  ValueId ram;       // [tokens, 4 d]
  ValueId streams;   // [tokens, kStreamFields] I32; its exponents are not applied (ops/swap_streams.h)
  ValueId residual;  // [tokens, d]
  WeightId norm;     // [d]
  WeightId w, bias;  // [4, d] F32, [4]
  ValueId out;       // [tokens, d]
  float eps = 0;
  SwapHooks hooks;

  template <class Op, class V>
  static void tensors(Op& op, V& visit) {
    visit.in("v", op.v);
    visit.in("ram", op.ram);
    visit.in("streams", op.streams);
    visit.in("residual", op.residual);
    visit.weight("norm", op.norm);
    visit.weight("w", op.w);
    visit.weight("bias", op.bias);
    visit.out("out", op.out);
    SwapHooks::tensors(op.hooks, visit);
  }
  void check(const Tables& t) const {
    const uint64_t d = t[v].width;
    CHECK(t[ram].width == kStreams * d && t[streams].type == DType::kI32 && t[streams].width == kStreamFields);
    CHECK(t[residual].width == d && t[out].width == d && t[out].rows == Rows::kTokens);
    CHECK(t[norm].shape.elements() == d && t[w].shape == Shape({kStreams, d}) && t[w].type == DType::kF32);
    CHECK(t[bias].shape.elements() == kStreams);
    hooks.check(t);
    CHECK(!hooks.trace || hooks.margin_column + 1 < t[hooks.trace].width);
  }
  Cost cost(const Tables& t, const StepShape& s) const {
    return {.weight_bytes = t[norm].bytes() + t[w].bytes() + t[bias].bytes(),
            .activation_bytes = activation_bytes(*this, t, s),
            .flops = (2 * kStreams + 5) * t[v].width * s.n_tokens};
  }
};

}  // namespace stretto
