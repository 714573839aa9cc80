// Planning and accounting of a program, before anything is loaded.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "program/program.h"

namespace stretto {

// Where every value lives in one activation arena: values whose lifetimes do not overlap share memory.
struct BufferPlan {
  std::vector<uint64_t> offset;  // per value, bytes, 64-aligned
  uint64_t bytes = 0;            // of the arena
};
BufferPlan plan_buffers(const Program& program, const StepShape& largest_step);

// All memory of a program, bytes.
struct MemoryPlan {
  uint64_t weights = 0;
  uint64_t state = 0;
  uint64_t activations = 0;
  uint64_t total() const { return weights + state + activations; }
};
MemoryPlan plan_memory(const Program& program, uint64_t n_ctx, const StepShape& largest_step);

// The largest context whose plan fits into `available` bytes; 0 when not even one position does.
uint64_t largest_context(const Program& program, const StepShape& largest_step, uint64_t available);

// Costs of one step: per op (aligned with program.nodes) and in all.
struct Accounting {
  std::vector<Cost> per_node;
  Cost total;
  uint64_t launches = 0;  // ops of the program as it stands
  // The phase each op belongs to, from 1: one more than the latest op that it depends on through a value or a state.
  // Ops of one phase could run side by side; between phases everything waits for everything.
  std::vector<int> phase;
  int n_phases = 0;
};
Accounting account(const Program& program, const StepShape& step);

}  // namespace stretto
