// No kernel writes beyond a buffer, and nothing beyond one reaches a result: every value in a place of its own, gaps of
// NaNs around all buffers, NaNs in the positions of the caches that hold nothing yet.
#include <gtest/gtest.h>

#include <cuda_runtime.h>

#include <algorithm>
#include <random>

#include "cuda/device.h"
#include "cuda/executable.h"
#include "models/reference_models.h"
#include "ops/cases.h"
#include "ops/compare.h"

namespace stretto::test {
namespace {

constexpr uint64_t kGuardBytes = 4096;

std::vector<uint8_t> download(const std::byte* from, uint64_t bytes) {
  std::vector<uint8_t> out(bytes);
  EXPECT_EQ(cudaMemcpy(out.data(), from, bytes, cudaMemcpyDeviceToHost), cudaSuccess);
  return out;
}

bool untouched(const std::byte* from, uint64_t bytes) {
  const std::vector<uint8_t> got = download(from, bytes);
  return std::ranges::all_of(got, [](uint8_t b) { return b == 0xff; });
}

uint64_t n_broken(const cuda::CudaExecutable& executable) {
  uint64_t n = 0;
  for (const cuda::GuardBands::Band& b : executable.guards().bands) n += !untouched(b.begin, b.bytes);
  return n;
}

// Positions from `length` on of every head of every cache are as they were.
bool unwritten_beyond(const cuda::CudaExecutable& executable, uint64_t length) {
  const std::vector<StateInfo>& states = executable.program().tables.states;
  for (size_t i = 0; i < states.size(); ++i) {
    if (states[i].growth != Growth::kPerPosition) continue;
    const cuda::CacheLayout& layout = executable.layout(i);
    const uint64_t row_bytes = states[i].bytes(1) / layout.n_kv_heads;
    for (uint64_t head = 0; head < layout.n_kv_heads; ++head) {
      const std::byte* const at = executable.state(i) + (head * layout.n_ctx + length) * row_bytes;
      if (!untouched(at, (layout.n_ctx - length) * row_bytes)) return false;
    }
  }
  return true;
}

struct Result {
  std::vector<float> values;
  uint64_t n_bands = 0, n_broken = 0;
};

// As run_case, with a look at the gaps.
Result run_guarded(const OpCase& c, const Backend& backend) {
  const auto executable = backend.compile(c.program, options_of(c));
  const auto& device = dynamic_cast<const cuda::CudaExecutable&>(*executable);
  Result out;
  for (const CaseStep& s : c.steps) {
    const auto result = executable->run({.tokens = s.tokens, .position = s.position, .outputs = s.outputs});
    out.values.insert(out.values.end(), result.begin(), result.end());
  }
  out.n_bands = device.guards().bands.size();
  out.n_broken = n_broken(device);
  return out;
}

TEST(CudaGuards, NoOpCaseLeavesItsBuffers) {
  SKIP_WITHOUT_DEVICE();
  const auto plain = make_cuda_backend({}), guarded = make_cuda_backend({.guard_bytes = kGuardBytes});
  for (const OpCase& c : op_cases()) {
    // Cases that begin late read cache rows that no step wrote: zeros without gaps, NaNs with them.
    if (c.steps.front().position != 0) continue;
    for (const OpCase& variant : {c, in_single_tokens(c)}) {
      const Result got = run_guarded(variant, *guarded);
      EXPECT_GT(got.n_bands, variant.program.tables.values.size()) << c.name;
      EXPECT_EQ(got.n_broken, 0U) << c.name << " steps " << variant.steps.size();
      EXPECT_EQ(got.values, run_case(variant, *plain)) << c.name << " steps " << variant.steps.size();
    }
  }
}

TEST(CudaGuards, NoStepOfAModelLeavesItsBuffers) {
  SKIP_WITHOUT_DEVICE();
  constexpr uint64_t kContext = 128;
  const std::mt19937_64 random(3);
  const int32_t history[] = {5, 1, 5, 7, 1};
  const std::pair<int32_t, float> bias[] = {{3, 1.0F}};
  TokenChoice choice{.bias = bias, .window = 4, .frequency_penalty = 0.5, .history = history, .random = &random};
  choice.steps[choice.n_steps++] = {ChoiceStep::kTopK, 40};
  for (const char* name : {"gguf/llama.q8_0", "gguf/llama.q4_k_m", "gguf/qwen3.f16", "gguf/qwen3moe.q4_k_m",
                           "hf/swap_ffn_hybrid", "hf/swap_ffn_carried"}) {
    const auto checkpoint = open_checkpoint(ReferenceCase{name}.model_path());
    const Model model = load_model(*checkpoint, {.kv_type = DType::kF16});
    const CompileOptions limits{.n_ctx = kContext, .max_tokens = 32, .max_outputs = 2};
    std::vector<float> expected;
    for (const uint64_t guard_bytes : {uint64_t{0}, kGuardBytes}) {
      const auto executable = make_cuda_backend({.guard_bytes = guard_bytes})->compile(model.program, limits);
      std::vector<float> got;
      uint64_t position = 0;
      std::vector<int32_t> tokens;
      for (int32_t i = 0; i < 32; ++i) tokens.push_back(1 + i * 7 % 50);
      for (const uint64_t n : {uint64_t{32}, uint64_t{1}, uint64_t{5}, uint64_t{1}, uint64_t{9}}) {
        const int32_t outputs[] = {0, static_cast<int32_t>(n) - 1};
        const auto logits = executable->run(
            {.tokens = {tokens.data(), n}, .position = position, .outputs = {outputs, n > 1 ? size_t{2} : size_t{1}}});
        got.insert(got.end(), logits.begin(), logits.end());
        position += n;
      }
      executable->start_greedy(1, position);
      for (int i = 0; i < 20; ++i) got.push_back(static_cast<float>(executable->next_token()));
      position += 20;
      executable->start_decode(1, position, choice);
      for (int i = 0; i < 20; ++i) got.push_back(static_cast<float>(executable->next_token()));
      position += 22;  // two steps may be under way
      const auto& device = dynamic_cast<const cuda::CudaExecutable&>(*executable);
      if (guard_bytes == 0) {
        expected = got;
      } else {
        ASSERT_EQ(cudaDeviceSynchronize(), cudaSuccess);
        EXPECT_EQ(n_broken(device), 0U) << name;
        EXPECT_TRUE(unwritten_beyond(device, position)) << name;
        EXPECT_EQ(got, expected) << name;
      }
    }
  }
}

}  // namespace
}  // namespace stretto::test
