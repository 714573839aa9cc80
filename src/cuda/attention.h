// Attention over the cache for any head size and any number of tokens.
#pragma once

#include <cstdint>

#include "base/dtype.h"
#include "cuda/cache_layout.h"
#include "cuda/launch.h"

namespace stretto::cuda {

inline constexpr uint32_t kMaxHeadDim = 512;

struct AttentionParams {
  const float* q = nullptr;  // [tokens, n_heads * head_dim], rotated
  const void* k_cache = nullptr;
  const void* v_cache = nullptr;
  float* out = nullptr;
  const int32_t* position = nullptr;  // of the first token, device
  CacheLayout layout = {};
  uint32_t n_heads = 0, window = 0;
  float scale = 0;
};
void launch_attention(Queue& queue, DType cache_type, uint32_t n_tokens, const AttentionParams& params);

}  // namespace stretto::cuda
