// Attention of large steps on tensor cores: head norms, rotary embedding and cache append in one launch, then all
// tokens of the step against the cache.
#pragma once

#include <cstdint>

#include "base/dtype.h"
#include "cuda/cache_layout.h"
#include "cuda/launch.h"
#include "cuda/rope.h"

namespace stretto::cuda {

struct PrefillAttentionParams {
  const float* q = nullptr;       // [n_tokens, n_heads * head_dim], before norm and rotation
  const float* k = nullptr;       // [n_tokens, n_kv_heads * head_dim], likewise
  const float* v = nullptr;       // [n_tokens, n_kv_heads * head_dim]
  const float* q_norm = nullptr;  // [head_dim], nullptr: none
  const float* k_norm = nullptr;
  void* k_cache = nullptr;  // of `layout`
  void* v_cache = nullptr;
  CacheLayout layout = {};
  void* queries = nullptr;  // scratch, [n_tokens, n_heads * head_dim] of the type that its elements are read as
  void* out = nullptr;      // [n_tokens, n_heads * head_dim] of the type given to launch_prefill_attention
  RopeRows rows = {};
  bool apply_temperature = false;
  const int32_t* position = nullptr;  // of the first token, device
  uint32_t n_tokens = 0, n_heads = 0, window = 0;
  float scale = 0, eps = 0;
};

bool prefill_attention_supports(DType cache_type, uint64_t head_dim);
void prepare_prefill_attention(const DeviceShape& device);
// out_type: F32, F16 or BF16. Queries and softmax weights are rounded to the cache's type, to F16
// beside 8-bit caches.
void launch_prefill_attention(Queue& queue, DType cache_type, DType out_type, const PrefillAttentionParams& params);

}  // namespace stretto::cuda
