// The tiny reference models (rebuilt by tests/tools/make_refs.py) and their expected logits.
#pragma once

#include <string>
#include <vector>

#include "backend/backend.h"
#include "engine/sampler.h"
#include "engine/session.h"
#include "models/registry.h"

namespace stretto::test {

struct ReferenceCase {
  std::string name;  // "hf/qwen3", "gguf/llama.q8_0"
  std::string model_path() const;
  std::string expected_path() const;
};

const std::vector<ReferenceCase>& hf_cases();
const std::vector<ReferenceCase>& gguf_cases();

// Median KL of the logits beside an 8-bit cache, of models with random weights: they have larger scores than trained
// ones.
inline constexpr double kQ8CacheMedianKl = 5e-3, kF8CacheMedianKl = 0.2;
// Whether the blocks of a cache type divide the model's heads.
bool takes_cache(const ReferenceCase& c, DType type);

// Everything a reference file holds that the tests use.
struct Expected {
  std::vector<int32_t> tokens;  // [T]
  std::vector<float> logits;    // [T, vocab]
  std::vector<int32_t> greedy_prompt, greedy_tokens;
  std::vector<float> greedy_margin;
  std::vector<float> decision_margin;  // of swap layers: [T, n_events + 1]
  std::vector<int32_t> stream_map;     // [T]
  size_t vocab() const { return logits.size() / tokens.size(); }
};
Expected read_expected(const ReferenceCase& c);

// Whether the model has layers that decide (docs/swap-ffn.md).
bool has_swap_layers(const ReferenceCase& c);

// Logits of every position, `chunk` tokens per step (0: all at once).
std::vector<float> logits_of(const ReferenceCase& c, const Backend& backend, const std::vector<int32_t>& tokens,
                             uint64_t chunk, const ModelOptions& options = {});

// The recording (ops/swap_streams.h) of what the swap layers decide, a row per position, in steps of `chunk` tokens
// (0: all at once). Decisions may be forced by `options`.
std::vector<float> swap_recording(const ReferenceCase& c, const Backend& backend, const std::vector<int32_t>& tokens,
                                  uint64_t chunk, ModelOptions options);

std::vector<int32_t> greedy(const ReferenceCase& c, const Backend& backend, const std::vector<int32_t>& prompt,
                            size_t n);

// max |a - b| over the range (max - min) of b.
double range_error(const std::vector<float>& a, const std::vector<float>& b);

// Median over positions of KL(softmax(expected) || softmax(got)), in nats.
double median_kl(const std::vector<float>& got, const std::vector<float>& expected, size_t vocab);

}  // namespace stretto::test
