#pragma once
// Rotary position embedding, half-split pairing, on each head's first 2 * |inv_freq| dimensions.
//   pair (i, i + R/2), R = 2 * |inv_freq|, angle = position * inv_freq[i]
//   a' = m (a cos - b sin)      b' = m (a sin + b cos)      dimensions >= R pass unchanged
// With temperature_beta > 0 every rotated row is then multiplied by 1 + beta * ln(1 + floor(position / context)).
// All scaling rules (linear, llama3, YaRN) are folded into inv_freq and m when the table is built.
// Source: Su et al. 2021; the temperature is Ministral 3's.

#include <memory>

#include "ops/types.h"

namespace stretto {

struct RopeTable {
  std::vector<double> inv_freq;  // [R/2], float64: float32 frequencies lose 6e-3 rad at position 131071
  double mscale = 1;
  double temperature_beta = 0;  // queries only
  double temperature_context = 1;
};

struct Rope {
  static constexpr std::string_view kName = "Rope";
  ValueId x;    // [tokens, n_heads * head_dim]
  ValueId out;  // like x
  uint64_t head_dim = 0;
  std::shared_ptr<const RopeTable> table;
  bool apply_temperature = false;

  template <class Op, class V>
  static void tensors(Op& op, V& v) {
    v.in("x", op.x);
    v.out("out", op.out);
  }
  void check(const Tables& t) const {
    CHECK(head_dim > 0 && t[x].width % head_dim == 0 && t[out].width == t[x].width);
    CHECK(table && 2 * table->inv_freq.size() <= head_dim);
    CHECK(t[x].rows == Rows::kTokens && t[out].rows == Rows::kTokens);
  }
  Cost cost(const Tables& t, const StepShape& s) const {
    return {.activation_bytes = activation_bytes(*this, t, s), .flops = 3 * t[x].width * s.n_tokens};
  }
};

}  // namespace stretto
