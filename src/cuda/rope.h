// Rotary embedding and the KV cache's writer.
#pragma once

#include <cstdint>

#include "base/dtype.h"
#include "cuda/cache_layout.h"
#include "cuda/launch.h"

namespace stretto::cuda {

// Cosines and sines of the step's positions for one table, the table's scale in them.
struct RopeRows {
  float* cos = nullptr;          // [tokens, n_pairs]
  float* sin = nullptr;          // [tokens, n_pairs]
  float* temperature = nullptr;  // [tokens]
  uint32_t n_pairs = 0;
};

// Angles in float64: float32 angles lose 6e-3 rad at position 131071.
struct FillRopeParams {
  RopeRows rows = {};
  const double* inv_freq = nullptr;   // [n_pairs]
  const int32_t* position = nullptr;  // of the first token, device
  double mscale = 1, temperature_beta = 0, temperature_context = 1;
};
void launch_fill_rope(Queue& queue, uint32_t n_tokens, const FillRopeParams& params);

// Rotates [tokens, n_heads * head_dim]; out may be x.
struct RopeParams {
  const float* x = nullptr;
  float* out = nullptr;
  RopeRows rows = {};
  uint32_t n_heads = 0, head_dim = 0;
  bool apply_temperature = false;
};
void launch_rope(Queue& queue, uint32_t n_tokens, const RopeParams& params);

// Row position + t of every head of the cache = x[t, :], rounded to the cache's type (formats/cache_formats.h).
struct KvAppendParams {
  const float* k = nullptr;
  const float* v = nullptr;
  void* k_cache = nullptr;
  void* v_cache = nullptr;
  const int32_t* position = nullptr;
  CacheLayout layout = {};
};
void launch_kv_append(Queue& queue, uint32_t n_tokens, DType cache_type, const KvAppendParams& params);

}  // namespace stretto::cuda
