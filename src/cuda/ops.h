// The ops that the GPU runs: supports, plan and run for each (cuda/machine.h says what they do), and tape for those
// that the persistent stream runs too.
#pragma once

#include "cuda/machine.h"
#include "cuda/stream.h"
#include "ops/ops.h"

namespace stretto::cuda {

// row_ops.cpp
bool supports(const Embed&, const Tables&);
void plan(const Embed&, Planner&);
void run(const Embed&, Machine&);
void tape(const Embed&, const Machine&, StreamTape&);
bool supports(const TakeOutputs&, const Tables&);
void plan(const TakeOutputs&, Planner&);
void run(const TakeOutputs&, Machine&);
void tape(const TakeOutputs&, const Machine&, StreamTape&);
bool supports(const RmsNorm&, const Tables&);
void plan(const RmsNorm&, Planner&);
void run(const RmsNorm&, Machine&);
void tape(const RmsNorm&, const Machine&, StreamTape&);
bool supports(const Add&, const Tables&);
void plan(const Add&, Planner&);
void run(const Add&, Machine&);
bool supports(const GatedAct&, const Tables&);
void plan(const GatedAct&, Planner&);
void run(const GatedAct&, Machine&);

// linear_ops.cpp
bool supports(const Linear&, const Tables&);
void plan(const Linear&, Planner&);
void run(const Linear&, Machine&);
void tape(const Linear&, const Machine&, StreamTape&);
bool supports(const LinearAdd&, const Tables&);
void plan(const LinearAdd&, Planner&);
void run(const LinearAdd&, Machine&);
void tape(const LinearAdd&, const Machine&, StreamTape&);
bool supports(const NormLinear&, const Tables&);
void plan(const NormLinear&, Planner&);
void run(const NormLinear&, Machine&);
void tape(const NormLinear&, const Machine&, StreamTape&);
bool supports(const NormGateUp&, const Tables&);
void plan(const NormGateUp&, Planner&);
void run(const NormGateUp&, Machine&);
void tape(const NormGateUp&, const Machine&, StreamTape&);

// attention_ops.cpp
bool supports(const Rope&, const Tables&);
void plan(const Rope&, Planner&);
void run(const Rope&, Machine&);
bool supports(const KvAppend&, const Tables&);
void plan(const KvAppend&, Planner&);
void run(const KvAppend&, Machine&);
bool supports(const Attention&, const Tables&);
void plan(const Attention&, Planner&);
void run(const Attention&, Machine&);
bool supports(const RopeAttention&, const Tables&);
void plan(const RopeAttention&, Planner&);
void run(const RopeAttention&, Machine&);
void tape(const RopeAttention&, const Machine&, StreamTape&);

// expert_ops.cpp
bool supports(const RouterTopK&, const Tables&);
void plan(const RouterTopK&, Planner&);
void run(const RouterTopK&, Machine&);
bool supports(const ExpertLinear&, const Tables&);
void plan(const ExpertLinear&, Planner&);
void run(const ExpertLinear&, Machine&);
bool supports(const ExpertSum&, const Tables&);
void plan(const ExpertSum&, Planner&);
void run(const ExpertSum&, Machine&);
bool supports(const MoeBlock&, const Tables&);
void plan(const MoeBlock&, Planner&);
void run(const MoeBlock&, Machine&);

// swap_ops.cpp, swap_tape.cpp
bool supports(const StateRead&, const Tables&);
void plan(const StateRead&, Planner&);
void run(const StateRead&, Machine&);
void tape(const StateRead&, const Machine&, StreamTape&);
bool supports(const StateWrite&, const Tables&);
void plan(const StateWrite&, Planner&);
void run(const StateWrite&, Machine&);
void tape(const StateWrite&, const Machine&, StreamTape&);
bool supports(const SwapRoute&, const Tables&);
void plan(const SwapRoute&, Planner&);
void run(const SwapRoute&, Machine&);
bool supports(const SwapWrite&, const Tables&);
void plan(const SwapWrite&, Planner&);
void run(const SwapWrite&, Machine&);
bool supports(const SwapCollapse&, const Tables&);
void plan(const SwapCollapse&, Planner&);
void run(const SwapCollapse&, Machine&);
void tape(const SwapCollapse&, const Machine&, StreamTape&);
bool supports(const BankFfn&, const Tables&);
void plan(const BankFfn&, Planner&);
void run(const BankFfn&, Machine&);
bool supports(const SwapEvent&, const Tables&);
void plan(const SwapEvent&, Planner&);
void run(const SwapEvent&, Machine&);
void tape(const SwapEvent&, const Machine&, StreamTape&);

// Floats of scratch that an event takes from the tape (swap_tape.cpp).
uint64_t stream_event_floats(const SwapEvent& op, const Tables& t);

// A weight whose rows can be packed, and short enough for a vector of its width to lie in shared memory.
bool packs(WeightId id, const Tables& t);
// Weights of experts [n_experts, n_out, n_in] whose kernels have room for n_vectors inputs.
bool packs_experts(WeightId id, const Tables& t, uint64_t n_vectors);
// An absent weight, or one that can be decoded to floats.
bool decodes(WeightId id, const Tables& t);

}  // namespace stretto::cuda
