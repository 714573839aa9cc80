// Checkpoints that the swap-FFN suite makes from nothing, or from another one.
#pragma once

#include <memory>
#include <vector>

#include "checkpoint/checkpoint.h"

namespace stretto::app {

struct SwapShape {
  uint64_t d_model = 1024, n_layers = 24, n_heads = 16, n_kv_heads = 4, d_ff = 4096, vocab_size = 50304;
  uint64_t n_banks = 4, n_events = 8, k_ffn = 2;
  std::vector<uint64_t> swap_layers = {};  // empty: the baseline
};

// hybrid1's shape, and a small one that runs anywhere in a second.
SwapShape full_swap_shape(bool hybrid);
SwapShape small_swap_shape(bool hybrid);

// Random BF16 weights, norms of 1. Tensors share memory, each at an offset of its own.
std::unique_ptr<Checkpoint> random_swap_model(const SwapShape& shape);

// The same model with token-local or carried memory, whatever it says itself. `base` must outlive it.
std::unique_ptr<Checkpoint> with_memory(const Checkpoint& base, bool token_local);

}  // namespace stretto::app
