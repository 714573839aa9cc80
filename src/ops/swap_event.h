#pragma once
// Fused: one event of a swap layer, from its routing to the write of its result.
//   SwapRoute, then k_ffn times BankFfn with the bank that it chose and its norm, then SwapWrite
// decompose() is its definition.

#include "ops/bank_ffn.h"
#include "ops/swap_route.h"
#include "ops/swap_write.h"

namespace stretto {

struct SwapEvent {
  static constexpr std::string_view kName = "SwapEvent";
  SwapRoute route;                // its `out` and `bank` are absent: they stay inside
  WeightId w_gate, w_up, w_down;  // [n_banks, d_ff, d] twice, [n_banks, d, d_ff]
  uint64_t k_ffn = 0;
  ValueId out;      // [tokens, d]
  ValueId ram_out;  // [tokens, 4 d]
  Activation act = Activation::kSilu;

  template <class Op, class V>
  static void tensors(Op& op, V& v) {
    v.in("v", op.route.v);
    v.in("ram", op.route.ram);
    v.in("streams", op.route.streams);
    v.weight("norm", op.route.norm);
    v.weight("router", op.route.router);
    v.weight("router_bias", op.route.router_bias);
    v.weight("switches", op.route.switches);
    v.weight("switch_bias", op.route.switch_bias);
    v.weight("read", op.route.read);
    v.weight("read_bias", op.route.read_bias);
    v.weight("w_gate", op.w_gate);
    v.weight("w_up", op.w_up);
    v.weight("w_down", op.w_down);
    v.out("out", op.out);
    v.out("ram_out", op.ram_out);
    v.out("streams_out", op.route.streams_out);
    SwapHooks::tensors(op.route.hooks, v);
  }
  void check(const Tables& t) const {
    const uint64_t d = t[route.v].width;
    const Shape &g = t[w_gate].shape, &u = t[w_up].shape, &w = t[w_down].shape;
    CHECK(!route.out && !route.bank && k_ffn > 0);
    CHECK(g.rank() == 3 && g == u && w.rank() == 3 && g[0] == route.n_banks(t) && w[0] == g[0]);
    CHECK(g[2] == d && w[1] == d && w[2] == g[1]);
    CHECK(t[out].rows == Rows::kTokens && t[out].width == d && t[ram_out].width == kStreams * d);
    CHECK(t[route.v].rows == Rows::kTokens && t[ram_out].rows == Rows::kTokens);
    CHECK(t[route.streams_out].type == DType::kI32 && t[route.streams_out].width == kStreamFields);
    CHECK(t[route.norm].shape.elements() == d && t[route.router].shape == Shape({g[0], d}));
    route.hooks.check(t);
  }
  // Every FFN step reads its bank: at most every bank once per step.
  Cost cost(const Tables& t, const StepShape& s) const {
    const uint64_t rows = s.n_tokens, n_banks = t[w_gate].shape[0], d = t[route.v].width, d_ff = t[w_gate].shape[1];
    const uint64_t bank_bytes = (t[w_gate].bytes() + t[w_up].bytes() + t[w_down].bytes()) / n_banks;
    Cost c{.weight_bytes = k_ffn * bank_bytes * std::min(rows, n_banks),
           .activation_bytes = activation_bytes(*this, t, s) + rows * (2 * k_ffn * (d + d_ff)) * sizeof(float),
           .flops = rows * (k_ffn * (6 * d_ff * d + 5 * d + 6 * d_ff) + (2 * (n_banks + kSwitches + 1) + 6) * d)};
    for (const WeightId w :
         {route.norm, route.router, route.router_bias, route.switches, route.switch_bias, route.read, route.read_bias})
      c.weight_bytes += t[w].bytes();
    return c;
  }
  template <class Emitter>
  void decompose(Emitter& e) const {
    SwapRoute r = route;
    r.out = e.temp_like(route.v);
    r.bank = e.temp(1, Rows::kTokens, DType::kI32);
    e.emit(r);
    ValueId v = r.out;
    for (uint64_t k = 0; k < k_ffn; ++k) {
      const ValueId next = k + 1 == k_ffn ? out : e.temp_like(route.v);
      e.emit(BankFfn{.x = v,
                     .bank = r.bank,
                     .norm = route.norm,
                     .w_gate = w_gate,
                     .w_up = w_up,
                     .w_down = w_down,
                     .out = next,
                     .eps = route.eps,
                     .act = act});
      v = next;
    }
    e.emit(SwapWrite{.v = out, .streams = route.streams_out, .ram = route.ram, .out = ram_out});
  }
};

}  // namespace stretto
