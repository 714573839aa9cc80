// Chooses the next token from logits: bias, then the chain in the given order, then the draw.
#pragma once

#include <cstdint>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "backend/token_choice.h"
#include "engine/penalties.h"
#include "engine/sampling_params.h"
#include "engine/sampling_steps.h"

namespace stretto {

class Sampler {
 public:
  // `suppressed` ids are never chosen; `breakers` serve DRY. Throws Error(kBadArgument), see check().
  Sampler(const SamplingParams& params, uint64_t vocab_size, std::vector<int32_t> suppressed = {},
          DryBreakers breakers = {});

  // A token that is part of the text from now on: prompt and chosen ones alike.
  void accept(int32_t id) { history_.push_back(id); }
  void accept(std::span<const int32_t> ids) { history_.insert(history_.end(), ids.begin(), ids.end()); }

  // `logits` has vocab_size values. The same seed, history and logits give the same token on every machine. The caller
  // passes the result to accept().
  int32_t sample(std::span<const float> logits);
  // Nothing changes the logits: the choice is their maximum.
  bool is_plain_greedy() const;

  // The chain as a device runs it: its tokens are those that sample() would choose one after the other from the same
  // logits. `choice` refers to this sampler until it next changes. Returns why a device cannot run it, or "".
  std::string device_choice(TokenChoice& choice) const;
  // A device chose a token in sample()'s place: the next one here takes the random number after that token's.
  void skip_draw();

 private:
  void prepare(std::span<const float> logits);
  void step(std::string_view name);
  void apply_temperature();
  int32_t mirostat();
  double mirostat_1_cut();
  double uniform();

  SamplingParams params_;
  std::vector<std::pair<int32_t, float>> bias_;  // of distinct ids, the suppressed ones at -infinity
  DryBreakers breakers_;
  std::vector<int32_t> history_;
  std::vector<float> logits_;
  Candidates candidates_;
  std::mt19937_64 random_;
  double mu_ = 0;
};

// Index of the largest value, the lowest on a tie.
int32_t arg_max(std::span<const float> logits);

// The names that SamplingParams::order may hold.
std::span<const std::string_view> sampler_step_names();

}  // namespace stretto
