// 8-bit caches on the GPU beside the op cases: the error against an exact cache, positions that are written again, and
// contexts that fill the device's memory.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "base/error.h"
#include "cuda/device.h"
#include "engine/engine.h"
#include "models/reference_models.h"
#include "ops/attention_cases.h"
#include "ops/compare.h"
#include "oracle/oracle_backend.h"

namespace stretto::test {
namespace {

TEST(CudaCache, EightBitCachesPointTheSameWay) {
  SKIP_WITHOUT_DEVICE();
  const auto backend = make_cuda_backend({});
  std::map<std::string, double> least;
  for (const CacheGate& gate : cache_gates()) {
    const std::vector<float> exact = run_case(gate.exact, *make_oracle_backend());
    for (const OpCase& c : {in_single_tokens(gate.rounded), gate.rounded}) {
      const double found = cosine(run_case(c, *backend), exact);
      EXPECT_GE(found, CacheGate::kCosine) << c.name << " in " << c.steps.size() << " steps";
      const std::string type(name(c.program.tables.states.front().type));
      double& smallest = least.try_emplace(type, 1).first->second;
      smallest = std::min(smallest, found);
    }
  }
  for (const auto& [type, smallest] : least) std::printf("%s: least cosine %.6f\n", type.c_str(), smallest);
}

// A step that was taken back leaves nothing: what is written over it gives the bits of a fresh cache.
TEST(CudaCache, PositionsCanBeWrittenAgain) {
  SKIP_WITHOUT_DEVICE();
  const auto backend = make_cuda_backend({});
  for (const CacheGate& gate : cache_gates())
    for (const OpCase& c : {gate.rounded, in_single_tokens(gate.rounded)})
      EXPECT_EQ(run_rewriting(c, *backend), run_case(c, *backend)) << c.name << " in " << c.steps.size() << " steps";
}

// The largest context that the refusal names does fit.
TEST(CudaCache, WhatDoesNotFitIsRefusedWithTheLargestContextThatDoes) {
  SKIP_WITHOUT_DEVICE();
  const auto checkpoint = open_checkpoint(ReferenceCase{"gguf/llama.q8_0"}.model_path());
  const EngineLog silent{.line = [](const std::string&) {}, .progress = {}};
  for (const DType type : {DType::kF16, DType::kF8_E4M3, DType::kQ8_0}) {
    if (!takes_cache({"gguf/llama.q8_0"}, type)) continue;
    const auto backend = make_cuda_backend({});
    uint64_t fits = 0;
    try {
      Engine(*checkpoint, *backend, {.n_ctx = uint64_t{1} << 40, .max_tokens = 16, .kv_type = type}, silent);
      FAIL();
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::kHostMemory);
      const std::string text = e.what();
      const size_t at = text.find("(-c ");
      ASSERT_NE(at, std::string::npos) << text;
      fits = std::stoull(text.substr(at + 4));
    }
    Engine engine(*checkpoint, *backend, {.n_ctx = fits, .max_tokens = 16, .kv_type = type}, silent);
    const int32_t token = 1, output = 0;
    const auto logits = engine.executable().run({.tokens = {&token, 1}, .position = 0, .outputs = {&output, 1}});
    EXPECT_TRUE(std::ranges::all_of(logits, [](float x) { return std::isfinite(x); })) << name(type);
    std::printf("cache %s: %lu positions\n", std::string(name(type)).c_str(), static_cast<unsigned long>(fits));
  }
}

}  // namespace
}  // namespace stretto::test
