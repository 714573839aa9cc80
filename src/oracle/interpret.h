// One function per primitive op over float64 buffers.
#pragma once

#include <vector>

#include "backend/backend.h"

namespace stretto::oracle {

// Activations, weights and state of a running program, all float64 (ids are exact in it).
struct Machine {
  const Program* program = nullptr;
  Step step;
  std::vector<std::vector<double>> values;       // per ValueId, [rows, width]
  std::vector<std::vector<double>> states;       // per StateId, [n_ctx, width] or [width]
  std::vector<std::vector<std::byte>> gathered;  // per WeightId, only where the stored bytes are not contiguous
  std::vector<float> row;                        // one decoded weight row

  const Tables& tables() const { return program->tables; }
  uint64_t rows(ValueId id) const;
  std::vector<double>& value(ValueId id) { return values[static_cast<size_t>(id.index)]; }
  std::vector<double>& state(StateId id) { return states[static_cast<size_t>(id.index)]; }
  // Row r of a weight ([rows, cols] with all leading dimensions joined), decoded.
  const std::vector<float>& weight_row(WeightId id, uint64_t r);
};

void interpret(Machine& m, const Embed& op);
void interpret(Machine& m, const RmsNorm& op);
void interpret(Machine& m, const Linear& op);
void interpret(Machine& m, const Add& op);
void interpret(Machine& m, const GatedAct& op);
void interpret(Machine& m, const Rope& op);
void interpret(Machine& m, const KvAppend& op);
void interpret(Machine& m, const Attention& op);
void interpret(Machine& m, const TakeOutputs& op);
void interpret(Machine& m, const RouterTopK& op);
void interpret(Machine& m, const ExpertLinear& op);
void interpret(Machine& m, const ExpertSum& op);
void interpret(Machine& m, const StateRead& op);
void interpret(Machine& m, const StateWrite& op);

// swap.cpp
void interpret(Machine& m, const SwapRoute& op);
void interpret(Machine& m, const SwapWrite& op);
void interpret(Machine& m, const SwapCollapse& op);

}  // namespace stretto::oracle
