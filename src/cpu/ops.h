// The ops that the CPU runs: supports, plan and run for each (cpu/machine.h says what they do).
#pragma once

#include <span>

#include "cpu/machine.h"
#include "formats/formats.h"
#include "ops/ops.h"

namespace stretto::cpu {

// embed.cpp
bool supports(const Embed&, const Tables&);
void plan(const Embed&, Planner&);
void run(const Embed&, const Machine&, Worker&);
bool supports(const TakeOutputs&, const Tables&);
void plan(const TakeOutputs&, Planner&);
void run(const TakeOutputs&, const Machine&, Worker&);

// elementwise.cpp
bool supports(const RmsNorm&, const Tables&);
void plan(const RmsNorm&, Planner&);
void run(const RmsNorm&, const Machine&, Worker&);
bool supports(const Add&, const Tables&);
void plan(const Add&, Planner&);
void run(const Add&, const Machine&, Worker&);
bool supports(const GatedAct&, const Tables&);
void plan(const GatedAct&, Planner&);
void run(const GatedAct&, const Machine&, Worker&);

// linear.cpp
bool supports(const Linear&, const Tables&);
void plan(const Linear&, Planner&);
void run(const Linear&, const Machine&, Worker&);
bool supports(const LinearAdd&, const Tables&);
void plan(const LinearAdd&, Planner&);
void run(const LinearAdd&, const Machine&, Worker&);
bool supports(const NormLinear&, const Tables&);
void plan(const NormLinear&, Planner&);
void run(const NormLinear&, const Machine&, Worker&);
bool supports(const NormGateUp&, const Tables&);
void plan(const NormGateUp&, Planner&);
void run(const NormGateUp&, const Machine&, Worker&);

// From where a thread begins to read the op's weights in a step of one row, to the end of the matrix.
std::span<const std::byte> first_weights(const Linear&, const Machine&, int thread, int n_threads);
std::span<const std::byte> first_weights(const LinearAdd&, const Machine&, int thread, int n_threads);
std::span<const std::byte> first_weights(const NormLinear&, const Machine&, int thread, int n_threads);
std::span<const std::byte> first_weights(const NormGateUp&, const Machine&, int thread, int n_threads);

// attention.cpp
bool supports(const Rope&, const Tables&);
void plan(const Rope&, Planner&);
void run(const Rope&, const Machine&, Worker&);
bool supports(const KvAppend&, const Tables&);
void plan(const KvAppend&, Planner&);
void run(const KvAppend&, const Machine&, Worker&);
bool supports(const Attention&, const Tables&);
void plan(const Attention&, Planner&);
void run(const Attention&, const Machine&, Worker&);
bool supports(const RopeAttention&, const Tables&);
void plan(const RopeAttention&, Planner&);
void run(const RopeAttention&, const Machine&, Worker&);
// Gives worker.later what its thread will read of the cache.
void add_later(const RopeAttention&, const Machine&, Worker&);

// experts.cpp
bool supports(const RouterTopK&, const Tables&);
void plan(const RouterTopK&, Planner&);
void run(const RouterTopK&, const Machine&, Worker&);
bool supports(const ExpertLinear&, const Tables&);
void plan(const ExpertLinear&, Planner&);
void run(const ExpertLinear&, const Machine&, Worker&);
bool supports(const ExpertSum&, const Tables&);
void plan(const ExpertSum&, Planner&);
void run(const ExpertSum&, const Machine&, Worker&);

// bank_ffn.cpp
bool supports(const BankFfn&, const Tables&);
void plan(const BankFfn&, Planner&);
void run(const BankFfn&, const Machine&, Worker&);

// swap.cpp
bool supports(const StateRead&, const Tables&);
void plan(const StateRead&, Planner&);
void run(const StateRead&, const Machine&, Worker&);
bool supports(const StateWrite&, const Tables&);
void plan(const StateWrite&, Planner&);
void run(const StateWrite&, const Machine&, Worker&);
bool supports(const SwapRoute&, const Tables&);
void plan(const SwapRoute&, Planner&);
void run(const SwapRoute&, const Machine&, Worker&);
bool supports(const SwapWrite&, const Tables&);
void plan(const SwapWrite&, Planner&);
void run(const SwapWrite&, const Machine&, Worker&);
bool supports(const SwapCollapse&, const Tables&);
void plan(const SwapCollapse&, Planner&);
void run(const SwapCollapse&, const Machine&, Worker&);

// A weight that the CPU can multiply with.
inline bool multiplies(WeightId id, const Tables& t) {
  return has_format(t[id].type) && t[id].shape.cols() % info(t[id].type).block_elements == 0;
}
// An absent weight, or one that can be decoded to floats.
inline bool decodes(WeightId id, const Tables& t) { return !id || multiplies(id, t); }

}  // namespace stretto::cpu
