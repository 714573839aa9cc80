// Greedy choice on the device: the next token, fed back into the step's state without the host.
#pragma once

#include <cstdint>

#include "cuda/launch.h"

namespace stretto::cuda {

// What a step reads besides its tokens, in device memory.
struct StepState {
  int32_t position = 0;      // of the step's first token
  uint32_t n_generated = 0;  // tokens chosen since the loop began
};

// The largest logit (the lowest index on a tie) becomes token[0], the position moves on by one, and the token appears
// in the host's mailbox as {n_generated, token}.
struct ArgMaxParams {
  const float* logits = nullptr;
  uint32_t n = 0;
  int32_t* token = nullptr;
  StepState* state = nullptr;
  unsigned long long* best = nullptr;  // zero between launches
  uint32_t* n_arrived = nullptr;       // zero between launches
  volatile uint64_t* mailbox = nullptr;
  uint32_t mailbox_size = 0;
};
void launch_arg_max(Queue& queue, const DeviceShape& device, const ArgMaxParams& params);

}  // namespace stretto::cuda
