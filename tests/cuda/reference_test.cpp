// The reference models on the GPU: logits, greedy tokens, and what must not change them.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "cuda/device.h"
#include "models/reference_models.h"

namespace stretto::test {
namespace {

constexpr double kHfBound = 1e-3, kF16Bound = 2e-3, kInt8MedianKl = 1e-3;
constexpr double kLargeStepBound = 1e-2;  // bf16 products

// Swap layers are refused.
std::vector<ReferenceCase> all_cases() {
  std::vector<ReferenceCase> out;
  for (const auto* list : {&hf_cases(), &gguf_cases()})
    for (const ReferenceCase& c : *list)
      if (!has_swap_layers(c)) out.push_back(c);
  return out;
}

bool is_int8(const std::string& name) { return name.find("q8_0") != name.npos || name.find("q4_k") != name.npos; }

TEST(CudaReference, LogitsTokenByTokenAndInChunks) {
  SKIP_WITHOUT_DEVICE();
  const auto backend = make_cuda_backend({});
  for (const ReferenceCase& c : all_cases()) {
    const Expected expected = read_expected(c);
    for (const uint64_t chunk : {uint64_t{1}, uint64_t{7}, uint64_t{0}}) {
      const auto got = logits_of(c, *backend, expected.tokens, chunk);
      const double error = range_error(got, expected.logits), kl = median_kl(got, expected.logits, expected.vocab());
      std::printf("%-24s chunk %d: range error %.2e, median KL %.2e\n", c.name.c_str(), static_cast<int>(chunk), error,
                  kl);
      if (is_int8(c.name)) {
        EXPECT_LE(kl, kInt8MedianKl) << c.name << " chunk " << chunk;
      } else {
        const double bound = c.name.starts_with("hf/") ? kHfBound : kF16Bound;
        EXPECT_LE(error, chunk == 0 ? kLargeStepBound : bound) << c.name << " chunk " << chunk;
      }
    }
  }
}

TEST(CudaReference, EightBitCaches) {
  SKIP_WITHOUT_DEVICE();
  const auto backend = make_cuda_backend({});
  for (const ReferenceCase& c : all_cases()) {
    const Expected expected = read_expected(c);
    for (const DType type : {DType::kQ8_0, DType::kF8_E4M3}) {
      if (!takes_cache(c, type)) continue;
      for (const uint64_t chunk : {uint64_t{1}, uint64_t{7}, uint64_t{0}}) {
        const auto got = logits_of(c, *backend, expected.tokens, chunk, {.kv_type = type});
        const double kl = median_kl(got, expected.logits, expected.vocab());
        std::printf("%-24s cache %s chunk %d: median KL %.2e\n", c.name.c_str(), std::string(name(type)).c_str(),
                    static_cast<int>(chunk), kl);
        EXPECT_LE(kl, type == DType::kQ8_0 ? kQ8CacheMedianKl : kF8CacheMedianKl) << c.name << " chunk " << chunk;
      }
    }
  }
}

TEST(CudaReference, GreedyTokens) {
  SKIP_WITHOUT_DEVICE();
  const auto backend = make_cuda_backend({});
  for (const ReferenceCase& c : hf_cases()) {
    if (has_swap_layers(c)) continue;
    const Expected expected = read_expected(c);
    const auto [low, high] = std::minmax_element(expected.logits.begin(), expected.logits.end());
    const double difference = kLargeStepBound * (static_cast<double>(*high) - *low);
    const auto got = greedy(c, *backend, expected.greedy_prompt, expected.greedy_tokens.size());
    for (size_t i = 0; i < got.size(); ++i) {
      if (got[i] == expected.greedy_tokens[i]) continue;
      EXPECT_LE(expected.greedy_margin[i], difference) << c.name << " token " << i;
      break;
    }
  }
}

// n tokens of the device's own loop after one token.
std::vector<int32_t> device_greedy(Executable& executable, uint64_t n) {
  std::vector<int32_t> out;
  EXPECT_TRUE(executable.start_greedy(1, 0));
  for (uint64_t i = 0; i < n; ++i) out.push_back(executable.next_token());
  return out;
}

TEST(CudaReference, TheDeviceLoopEqualsTheHostLoopHoweverItIsLaunched) {
  SKIP_WITHOUT_DEVICE();
  constexpr uint64_t kTokens = 512;
  for (const char* name :
       {"gguf/llama.q8_0", "gguf/llama.q4_k_m", "gguf/qwen3.f16", "gguf/qwen3moe.q4_k_m", "gguf/qwen3moe.f16"}) {
    const ReferenceCase c{name};
    const auto checkpoint = open_checkpoint(c.model_path());
    const Model model = load_model(*checkpoint, {.kv_type = DType::kF16});
    const CompileOptions limits{.n_ctx = kTokens + 1, .max_tokens = 4, .max_outputs = 1};
    std::vector<int32_t> expected;
    {
      const auto executable = make_cuda_backend({})->compile(model.program, limits);
      Session session(*executable, limits);
      for (int32_t id = 1; expected.size() < kTokens; id = expected.back())
        expected.push_back(arg_max(session.append(std::span(&id, 1))));
    }
    for (const bool graph : {true, false}) {
      for (const bool pdl : {true, false}) {
        const auto executable =
            make_cuda_backend({.graph = graph, .dependent_launch = pdl})->compile(model.program, limits);
        EXPECT_EQ(device_greedy(*executable, kTokens), expected) << name << " graph " << graph << " pdl " << pdl;
        EXPECT_EQ(device_greedy(*executable, kTokens), expected) << name << " again";
      }
    }
  }
}

}  // namespace
}  // namespace stretto::test
