#pragma once
// One event of a swap layer up to its FFN: which bank runs, how the streams are re-wired, what is read.
//   u    = RmsNorm(v) * norm
//   bank = argmax_b (router[b] . u + router_bias[b])                   ties: the lowest b
//   s_j  = switches[j] . u + switch_bias[j] > 0
//   map_out = benes(map, s)
//   out  = v + sigmoid(read . u + read_bias) * ram[map_out & 3]        the row of stream 0
// Source: docs/swap-ffn.md. All logits are float32 dot products: they decide branches.

#include "ops/swap_streams.h"

namespace stretto {

struct SwapRoute {
  static constexpr std::string_view kName = "SwapRoute";
  ValueId v;                       // [tokens, d]
  ValueId ram;                     // [tokens, 4 d], absent: zeros
  ValueId streams;                 // [tokens, kStreamFields] I32, absent: zeros
  bool first = false;              // v is new; otherwise it is what was written last and has the exponent of that row
  WeightId norm;                   // [d]
  WeightId router, router_bias;    // [n_banks, d] F32, [n_banks]
  WeightId switches, switch_bias;  // [6, d] F32, [6]
  WeightId read, read_bias;        // [1, d] F32, [1]
  ValueId out;                     // [tokens, d]
  ValueId bank;                    // [tokens, 1] I32
  ValueId streams_out;             // [tokens, kStreamFields] I32; row map & 3 has the exponent of out
  float eps = 0;
  SwapHooks hooks;

  template <class Op, class V>
  static void tensors(Op& op, V& visit) {
    visit.in("v", op.v);
    visit.in("ram", op.ram);
    visit.in("streams", op.streams);
    visit.weight("norm", op.norm);
    visit.weight("router", op.router);
    visit.weight("router_bias", op.router_bias);
    visit.weight("switches", op.switches);
    visit.weight("switch_bias", op.switch_bias);
    visit.weight("read", op.read);
    visit.weight("read_bias", op.read_bias);
    visit.out("out", op.out);
    visit.out("bank", op.bank);
    visit.out("streams_out", op.streams_out);
    SwapHooks::tensors(op.hooks, visit);
  }
  uint64_t n_banks(const Tables& t) const { return t[router].shape.rows(); }
  void check(const Tables& t) const {
    const uint64_t d = t[v].width;
    CHECK(t[v].rows == Rows::kTokens && t[out].rows == Rows::kTokens && t[out].width == d);
    CHECK(!ram || t[ram].width == kStreams * d);
    CHECK(!streams || (t[streams].type == DType::kI32 && t[streams].width == kStreamFields));
    CHECK(t[streams_out].type == DType::kI32 && t[streams_out].width == kStreamFields);
    CHECK(t[bank].type == DType::kI32 && t[bank].width == 1);
    CHECK(t[norm].shape.elements() == d && t[router].shape == Shape({n_banks(t), d}));
    CHECK(t[switches].shape == Shape({kSwitches, d}) && t[read].shape == Shape({1, d}));
    CHECK(t[router].type == DType::kF32 && t[switches].type == DType::kF32 && t[read].type == DType::kF32);
    CHECK(t[router_bias].shape.elements() == n_banks(t) && t[switch_bias].shape.elements() == kSwitches);
    CHECK(t[read_bias].shape.elements() == 1);
    hooks.check(t);
  }
  Cost cost(const Tables& t, const StepShape& s) const {
    uint64_t bytes = 0;
    for (const WeightId w : {norm, router, router_bias, switches, switch_bias, read, read_bias}) bytes += t[w].bytes();
    return {.weight_bytes = bytes,
            .activation_bytes = activation_bytes(*this, t, s),
            .flops = (2 * (n_banks(t) + kSwitches + 1) + 6) * t[v].width * s.n_tokens};
  }
};

}  // namespace stretto
