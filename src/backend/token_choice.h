// How a device chooses the next token by itself. The formulas and their order are those of the sampler of the engine
// (engine/sampler.h): bias, penalties, then the steps on the tokens sorted by falling logit (equal ones: lower id
// first), then the draw.
#pragma once

#include <array>
#include <cstdint>
#include <random>
#include <span>
#include <utility>

namespace stretto {

enum class ChoiceStep : uint32_t {
  kTopK,         // keep the first `value` tokens
  kTopP,         // keep the shortest run of first tokens whose probability reaches `value` < 1
  kMinP,         // keep those whose logit is at least the first one's plus `value` (the logarithm of the share)
  kTemperature,  // divide the logits by `value`
};

struct TokenChoice {
  struct Step {
    ChoiceStep kind = ChoiceStep::kTopK;
    double value = 0;
  };
  static constexpr size_t kMaxSteps = 4;  // at most one of each kind

  std::span<const std::pair<int32_t, float>> bias = {};  // added first; distinct ids, -infinity removes
  // For each token seen n times in the window: l <- l > 0 ? l / repeat : l * repeat, then l - n frequency - presence.
  int64_t window = 0;  // of the last tokens; 0: no penalties, < 0: all of them
  double repeat_penalty = 1, frequency_penalty = 0, presence_penalty = 0;
  std::span<const int32_t> history = {};  // what the window begins with: at most position + 1 tokens
  std::array<Step, kMaxSteps> steps = {};
  uint32_t n_steps = 0;
  // Its next numbers draw the tokens, one each: u = (number >> 11) / 2^53. Copied. nullptr: the first token is chosen.
  const std::mt19937_64* random = nullptr;

  // The largest logit as it is, the lowest id on a tie.
  bool is_greedy() const { return random == nullptr && bias.empty() && window == 0; }
};

}  // namespace stretto
