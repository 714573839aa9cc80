// What the two executors of a swap layer's ops share: the weights of its banks, and the parameters of its kernels.
#pragma once

#include "cuda/bank_gemv.h"
#include "cuda/machine.h"
#include "ops/ops.h"

namespace stretto::cuda {

// The FFN of a layer's banks, and the vectors between which it runs.
struct Banks {
  WeightId norm, w_gate, w_up, w_down;
  float eps = 0;
  Activation act = Activation::kSilu;

  explicit Banks(const BankFfn& op)
      : norm(op.norm), w_gate(op.w_gate), w_up(op.w_up), w_down(op.w_down), eps(op.eps), act(op.act) {}
  explicit Banks(const SwapEvent& op)
      : norm(op.route.norm), w_gate(op.w_gate), w_up(op.w_up), w_down(op.w_down), eps(op.route.eps), act(op.act) {}

  MatrixKey gate_up_key() const { return {.weights = {w_gate.index, w_up.index}, .gate_up = true, .experts = true}; }
  MatrixKey down_key() const { return {.weights = {w_down.index}, .experts = true}; }
  ExpertShape gate_up(const Tables& t) const { return expert_shape(t[w_gate], true); }
  ExpertShape down(const Tables& t) const { return expert_shape(t[w_down], false); }
  bool is_large(const Tables& t, uint64_t n_rows) const {
    return n_rows > kMaxGemvRows && t[w_gate].type != DType::kF32 && t[w_down].type != DType::kF32;
  }

  bool supported(const Tables& t) const;
  void plan(Planner& p, uint64_t rows) const;
};

// One FFN step of some rows.
struct BankStep {
  const float* x = nullptr;
  const int32_t* bank = nullptr;
  float* out = nullptr;
  uint32_t rows = 0;
};

// Of one row: gate and up into the layer's scratch, down from there.
BankGemvParams bank_gate_up_params(const Banks& b, const Machine& m, const BankStep& s);
BankGemvParams bank_down_params(const Banks& b, const Machine& m, const BankStep& s);
SwapRouteParams route_params(const SwapRoute& op, const Machine& m, float* out, int32_t* bank);
SwapCollapseParams collapse_params(const SwapCollapse& op, const Machine& m);

}  // namespace stretto::cuda
