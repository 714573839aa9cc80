// Rotary tables from a model's configuration, all scaling rules folded in.
#pragma once

#include <memory>

#include "models/model_reader.h"
#include "ops/rope.h"

namespace stretto {

// How RoPE frequencies are stretched. Formulas: transformers.md 3.4 of our specification (linear; Llama 3; YaRN from
// Peng et al. 2023).
struct RopeScaling {
  enum class Kind { kNone, kLinear, kLlama3, kYarn } kind = Kind::kNone;
  double factor = 1;
  double original_context = 0;
  double low_freq_factor = 1, high_freq_factor = 4;  // llama3
  double beta_fast = 32, beta_slow = 1;              // yarn
  double mscale = 1;                                 // yarn: multiplies cos and sin
};

// The `rotary_dim / 2` frequencies base^(-2i / rotary_dim) after scaling, and the factor on cos and sin.
RopeTable make_rope_table(double base, uint64_t rotary_dim, const RopeScaling& scaling);

// yarn's factor on cos and sin: 1 for s <= 1, else 0.1 u ln(s) + 1.
double yarn_mscale(double s, double u);

// Reads every rope key of either container (rope_theta, rope_scaling / rope_parameters; rope.* and rope_freqs).
std::shared_ptr<const RopeTable> read_rope(ModelReader& reader, uint64_t rotary_dim, uint64_t context_length);

}  // namespace stretto
