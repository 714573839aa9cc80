// Head norms, rotary embedding, cache append and attention of a few tokens in one launch.
#pragma once

#include <cstdint>

#include "base/dtype.h"
#include "cuda/launch.h"
#include "cuda/quantized.h"
#include "cuda/rope.h"

namespace stretto::cuda {

inline constexpr uint32_t kMaxAttentionTokens = 8;
inline constexpr uint32_t kMostAttentionSplits = 128;

struct DecodeAttentionParams {
  const float* q = nullptr;  // [tokens, n_heads * head_dim], before norm and rotation
  const float* k = nullptr;  // [tokens, n_kv_heads * head_dim], likewise
  const float* v = nullptr;
  const float* q_norm = nullptr;  // [head_dim], nullptr: none
  const float* k_norm = nullptr;
  void* k_cache = nullptr;  // cuda/cache_layout.h
  void* v_cache = nullptr;
  uint32_t n_ctx = 0;                  // of the layout
  float* out = nullptr;                // [tokens, n_heads * head_dim]
  QuantizedVector out_quantized = {};  // instead of out; that of the first token
  RopeRows rows = {};
  bool apply_temperature = false;
  const int32_t* position = nullptr;  // of the step's first token, device
  uint32_t n_heads = 0, n_kv_heads = 0, head_dim = 0, window = 0;
  float scale = 0, eps = 0;
  // Splits of the context: partial results and arrivals of each token; see decode_attention_scratch.
  float* partial = nullptr;
  uint32_t* n_arrived = nullptr;  // zero between launches
  uint32_t n_splits = 1, min_granules = 1;
  uint32_t n_stages = 2, n_early_stages = 2;  // of a warp's ring, and those that are filled before the wait
  // With kInput a single run triggers where its wait is over: what the next kernel reads delays few loads there, and
  // has come when the result is there.
  Trigger trigger = Trigger::kEntry;
  bool waits = false;  // all blocks of the launch are on the device at once, so they may wait for each other
};

struct DecodeAttentionTuning {
  uint32_t n_splits = 1;      // most blocks that share one group of heads
  uint32_t min_granules = 1;  // of positions, below which a split is not worth its combination
  uint32_t n_stages = 2;      // of a warp's ring
  uint32_t n_early_stages = 2;
  Trigger trigger = Trigger::kEntry;
};
// Into how many runs a context of so many granules is cut: runs of min_granules as far as half the splits go round, and
// twice as long ones from there on. Short runs are read sooner, but are more to join: at 129 granules 16 runs of four
// groups of heads beat 9 (Llama-like, 16 heads of 64), 9 of eight groups beat 16 (Qwen3-0.6B).
constexpr uint32_t active_runs(uint32_t n_granules, uint32_t n_splits, uint32_t min_granules) {
  const auto runs_of = [n_granules](uint32_t granules) { return (n_granules + granules - 1) / granules; };
  const uint32_t half = n_splits > 1 ? n_splits / 2 : 1;
  const uint32_t short_runs = runs_of(min_granules) < half ? runs_of(min_granules) : half;
  const uint32_t runs = runs_of(2 * min_granules) > short_runs ? runs_of(2 * min_granules) : short_runs;
  return runs < n_splits ? runs : n_splits;
}
struct DecodeAttentionChoice {
  uint32_t blocks_per_sm = 0, min_granules = 0, n_stages = 0, n_early_stages = 0;
  uint32_t trigger = 0;  // trigger_of()
};
DecodeAttentionTuning tune_decode_attention(DType cache_type, uint32_t n_heads, uint32_t n_kv_heads, uint32_t head_dim,
                                            const DeviceShape& device, const DecodeAttentionChoice& choice);

// Floats of `partial` and elements of `n_arrived`, for each token.
struct DecodeAttentionScratch {
  uint64_t partial = 0, n_arrived = 0;
};
DecodeAttentionScratch decode_attention_scratch(uint32_t n_heads, uint32_t n_kv_heads, uint32_t head_dim,
                                                uint32_t n_splits);

bool decode_attention_supports(DType cache_type, uint64_t head_dim);
void prepare_decode_attention(const DeviceShape& device);
// The result of a token has the same bits however many share its launch.
void launch_decode_attention(Queue& queue, DType cache_type, uint32_t n_tokens, uint32_t n_sm,
                             DecodeAttentionParams params);

}  // namespace stretto::cuda
