// Products of a row with one of several matrices, chosen on the device: the FFN of a swap layer's banks in small steps.
#pragma once

#include "cuda/experts.h"
#include "cuda/gemv.h"
#include "cuda/swap.h"

namespace stretto::cuda {

// When a kernel may read the choice.
enum class BankKnown : uint8_t {
  kInside,  // the kernel makes it: it routes
  kLate,    // the kernel in front of it, or an unknown one, has made it: behind the wait
  kEarly,   // complete when the kernel in front of it triggered its dependents: the stream starts before the wait
};

struct BankGemvParams {
  GemvParams gemv;                // of one row; weights of the first bank
  const int32_t* bank = nullptr;  // routing: written
  uint64_t bank_bytes = 0;
  BankKnown known = BankKnown::kLate;
  bool keeps_bank = false;           // it is read again soon: leave it in the L2 cache
  SwapRouteParams route = {};        // kInside: gemv.x and gemv.norm are its vector and norm
  const int32_t* streams = nullptr;  // with `ram`, known when the bank is: [kStreamFields]
  float* ram = nullptr;              // [4, d]: the row that stream 0 points at gets the result too
};

// One bank of `shape`, every bank in whole groups; no fold.
PackedShape bank_shape(const ExpertShape& shape);
GemvTuning tune_bank_gemv(const ExpertShape& shape, bool with_norm, const DeviceShape& device,
                          const GemvChoice& choice);
void launch_bank_gemv(Queue& queue, const ExpertShape& shape, const GemvTuning& tuning, BankGemvParams params);

void prepare_bank_gemv(const DeviceShape& device);

}  // namespace stretto::cuda
