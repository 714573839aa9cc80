// Chooses the next token from logits. Order of the steps: top-k, top-p, min-p, temperature, draw (the order that
// llama.cpp's users expect); temperature <= 0 is greedy.
#pragma once

#include <cstdint>
#include <random>
#include <span>
#include <vector>

namespace stretto {

struct SamplingParams {
  double temperature = 0.8;  // <= 0: greedy, the lowest id on a tie
  int32_t top_k = 40;        // <= 0: off
  double top_p = 0.95;       // >= 1: off
  double min_p = 0.05;       // <= 0: off
  uint64_t seed = 0;
};

class Sampler {
 public:
  Sampler(const SamplingParams& params, uint64_t vocab_size, std::vector<int32_t> suppressed = {});

  // `logits` has vocab_size values; the same seed and logits give the same tokens on every machine.
  int32_t sample(std::span<const float> logits);

 private:
  struct Candidate {
    double logit;
    int32_t id;
  };
  int32_t greedy(std::span<const float> logits) const;
  void keep_top_k();
  void keep_top_p();
  void keep_min_p();
  int32_t draw();
  bool is_suppressed(int32_t id) const;

  SamplingParams params_;
  std::vector<int32_t> suppressed_;  // sorted
  std::vector<Candidate> candidates_;
  std::vector<double> weights_;
  std::mt19937_64 random_;
};

// Index of the largest value, the lowest on a tie.
int32_t arg_max(std::span<const float> logits);

}  // namespace stretto
