// How the next token is chosen. Names, defaults and formulas are those that llama.cpp's users know (specification of
// the project, "Sampling"); each parameter says when it is off.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace stretto {

struct SamplingParams {
  double temperature = 0.8;   // <= 0: greedy, the lowest id on a tie
  double dynatemp_range = 0;  // 0: off
  double dynatemp_exponent = 1;
  int32_t top_k = 40;            // <= 0: off
  double top_p = 0.95;           // >= 1: off
  double min_p = 0.05;           // <= 0: off
  double typical_p = 1;          // >= 1: off
  double top_n_sigma = -1;       // <= 0: off
  double xtc_probability = 0;    // 0: off
  double xtc_threshold = 0.1;    // > 0.5: off
  int32_t repeat_last_n = 64;    // tokens looked back at; 0: off, -1: the whole context
  double repeat_penalty = 1;     // 1: off
  double frequency_penalty = 0;  // 0: off
  double presence_penalty = 0;   // 0: off
  double dry_multiplier = 0;     // 0: off
  double dry_base = 1.75;        // < 1: off
  int32_t dry_allowed_length = 2;
  int32_t dry_penalty_last_n = 64;  // 0: off, -1: the whole context
  std::vector<std::string> dry_sequence_breakers = {"\n", ":", "\"", "*"};
  int32_t mirostat = 0;  // 0: off, 1, 2; replaces every step but bias and temperature
  double mirostat_tau = 5;
  double mirostat_eta = 0.1;
  int32_t min_keep = 0;                                // truncating steps leave at least this many
  std::vector<std::pair<int32_t, double>> logit_bias;  // added first; -infinity removes
  // Order of the middle steps, see sampler_step_names(). Bias comes first, the draw last.
  std::vector<std::string> order = {"penalties", "dry",   "top_n_sigma", "top_k",      "typ_p",
                                    "top_p",     "min_p", "xtc",         "temperature"};
  uint64_t seed = 0;
};

// Throws Error(kBadArgument) naming the parameter, its value and the range wanted.
void check(const SamplingParams& params);

}  // namespace stretto
