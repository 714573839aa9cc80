// Text forms of programs and plans, for `stretto plan`.
#pragma once

#include <string>

#include "program/plan.h"

namespace stretto {

// "1.50 GiB", "320 KiB": binary units, three digits.
std::string human_bytes(uint64_t bytes);

// The op list: one line per op of the first layer of each kind, with role, op, tensors and shapes, and per-step cost;
// equal layers are folded into one line range. `all` prints every op.
std::string print_program(const Program& program, const StepShape& step, bool all);

// Totals by role: ops, bytes, share, FLOPs.
std::string print_roles(const Program& program, const StepShape& step);

}  // namespace stretto
