// The sampling chain on the device: the next token from logits, fed back into the step's state without the host. Which
// steps run, and with what, lies in device memory, so that one captured step serves all settings.
#pragma once

#include <array>
#include <cstdint>

#include "backend/token_choice.h"
#include "cuda/arg_max.h"
#include "cuda/launch.h"

namespace stretto::cuda {

// A vocabulary's ids fit into this many bits beside a value of 32 bits.
inline constexpr uint32_t kIdBits = 23;
// Tokens that one block sorts and draws from.
inline constexpr uint32_t kMaxListed = 1024;
inline constexpr uint32_t kUniforms = 64;
inline constexpr uint32_t kDigitBits = 11, kBins = 1U << kDigitBits, kBinSets = 3;

// What a loop begins with; the sampler keeps `n_history` up.
struct SampleSettings {
  double repeat_penalty = 1, frequency_penalty = 0, presence_penalty = 0;
  std::array<TokenChoice::Step, TokenChoice::kMaxSteps> steps = {};
  uint32_t n_steps = 0;
  bool draws = false;      // else the first token of the sorted list is the choice
  bool biased = false;     // bias[] is to be added
  int64_t window = 0;      // as in TokenChoice
  uint32_t n_history = 0;  // tokens in history[]
};

// Zero between launches.
struct SampleWords {
  unsigned long long top = 0;  // the largest rank
  uint32_t n_barrier = 0, n_done = 0, n_listed = 0;
};

struct SampleParams {
  const float* logits = nullptr;  // [n]
  uint32_t n = 0;                 // at most 2^19 (base/probability_weight.h)
  SampleSettings* settings = nullptr;
  const float* bias = nullptr;               // [n]
  int32_t* counts = nullptr;                 // [n], occurrences in the window
  int32_t* history = nullptr;                // tokens in the order of the text
  uint32_t* keys = nullptr;                  // [n], scratch: adjusted logits as ordered integers, 0: never chosen
  unsigned long long* list = nullptr;        // [kMaxListed], scratch
  unsigned long long* bin_weight = nullptr;  // [kBinSets][kBins], zero between launches
  uint32_t* bin_count = nullptr;             // [kBinSets][kBins], zero between launches
  SampleWords* words = nullptr;
  const double* uniforms = nullptr;  // [kUniforms]: the number in [0, 1) of step i at i % kUniforms
  // As in ArgMaxParams.
  int32_t* token = nullptr;
  StepState* state = nullptr;
  volatile uint64_t* mailbox = nullptr;
  uint32_t mailbox_size = 0;
};
void prepare_sample(const DeviceShape& device);
void launch_sample(Queue& queue, const DeviceShape& device, const SampleParams& params);

}  // namespace stretto::cuda
