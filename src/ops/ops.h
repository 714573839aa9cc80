#pragma once
// The closed list of ops. Primitive ops are what the float64 oracle interprets; a fused op defines itself in terms of
// others through decompose(). A new op is a header in this folder and one name here.

#include <concepts>
#include <variant>

#include "ops/add.h"
#include "ops/attention.h"
#include "ops/bank_ffn.h"
#include "ops/embed.h"
#include "ops/expert_linear.h"
#include "ops/expert_sum.h"
#include "ops/gated_act.h"
#include "ops/kv_append.h"
#include "ops/linear.h"
#include "ops/linear_add.h"
#include "ops/moe_block.h"
#include "ops/norm_gate_up.h"
#include "ops/norm_linear.h"
#include "ops/rms_norm.h"
#include "ops/rope.h"
#include "ops/rope_attention.h"
#include "ops/router_top_k.h"
#include "ops/state_rows.h"
#include "ops/swap_collapse.h"
#include "ops/swap_event.h"
#include "ops/swap_route.h"
#include "ops/swap_write.h"
#include "ops/take_outputs.h"

namespace stretto {

using Op =
    std::variant<Embed, RmsNorm, Linear, Add, GatedAct, Rope, KvAppend, Attention, TakeOutputs, RouterTopK,
                 ExpertLinear, ExpertSum, StateRead, StateWrite, SwapRoute, SwapWrite, SwapCollapse,  // primitive
                 NormLinear, NormGateUp, LinearAdd, RopeAttention, MoeBlock, BankFfn, SwapEvent>;     // fused

// Stands for any emitter when asking whether an op can be decomposed.
struct AnyEmitter {
  ValueId temp(uint64_t width, Rows rows, DType type = DType::kF32);
  ValueId temp_like(ValueId like);
  const Tables& tables() const;
  template <class T>
  void emit(const T& op);
};

template <class T>
concept FusedOp = requires(const T& op, AnyEmitter& e) {
  op.decompose(e);
};

inline std::string_view op_name(const Op& op) {
  return std::visit([]<class T>(const T&) { return T::kName; }, op);
}

}  // namespace stretto
