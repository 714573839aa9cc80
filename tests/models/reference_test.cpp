// Every architecture against its reference model: Hugging Face transformers in float32 (hf_ref), llama.cpp's float32
// arithmetic on dequantised weights (gguf_ref).

#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>

#include "cpu/cpu_backend.h"
#include "models/reference_models.h"
#include "oracle/oracle_backend.h"

namespace stretto::test {
namespace {

// The bounds of the project, as shares of the logits' range.
constexpr double kOracleBound = 2e-4;
constexpr double kCpuHfBound = 1e-3;
constexpr double kCpuF16Bound = 2e-3;
constexpr double kInt8MedianKl = 1e-3;
// Float weights, float activations and an F32 cache leave only float32 rounding.
constexpr double kCpuExactBound = 1e-5;

std::string test_name(const ::testing::TestParamInfo<ReferenceCase>& info) {
  std::string name = info.param.name;
  for (char& c : name)
    if (c == '/' || c == '.') c = '_';
  return name;
}

class Reference : public ::testing::TestWithParam<ReferenceCase> {};

TEST_P(Reference, OracleMatches) {
  const Expected expected = read_expected(GetParam());
  const auto got = logits_of(GetParam(), *make_oracle_backend(), expected.tokens, 32);
  EXPECT_LE(range_error(got, expected.logits), kOracleBound);
}

bool is_int8(const std::string& name) { return name.find("q8_0") != name.npos || name.find("q4_k") != name.npos; }

// The instruction sets with kernels of their own for packed weights; elsewhere the best one.
std::vector<std::string> tuned_isas() {
  std::vector<std::string> isas = cpu_isas();
  std::erase_if(isas, [](const std::string& isa) { return !isa.starts_with("avx"); });
  return isas.empty() ? std::vector<std::string>{""} : isas;
}

// The decisions of swap layers, from the oracle: with a rounded cache a near tie may fall to the other side, and then
// the logits differ by more than rounding. Their free run is in swap_test.cpp.
std::vector<float> recording_of(const ReferenceCase& c, const std::vector<int32_t>& tokens) {
  if (!has_swap_layers(c)) return {};
  return swap_recording(c, *make_oracle_backend(), tokens, 32, {});
}

// With these decisions, if there are any; they must outlive the result.
ModelOptions forcing(const std::vector<float>& recording, uint64_t n_tokens) {
  ModelOptions options;
  if (!recording.empty())
    options.swap.forced = {DType::kF32, Shape{n_tokens, recording.size() / n_tokens},
                           std::as_bytes(std::span(recording))};
  return options;
}

TEST_P(Reference, CpuMatchesWholeAndInChunks) {
  const Expected expected = read_expected(GetParam());
  const std::string& name = GetParam().name;
  const std::vector<float> recording = recording_of(GetParam(), expected.tokens);
  const ModelOptions options = forcing(recording, expected.tokens.size());
  for (const std::string& isa : tuned_isas()) {
    for (const uint64_t chunk : {uint64_t{0}, uint64_t{1}, uint64_t{7}}) {
      const auto got = logits_of(GetParam(), *make_cpu_backend({.isa = isa}), expected.tokens, chunk, options);
      if (is_int8(name)) {
        EXPECT_LE(median_kl(got, expected.logits, expected.vocab()), kInt8MedianKl) << isa << " chunk " << chunk;
      } else {
        // The sixteen FFN steps of a swap layer enlarge what rounding the cache to F16 does.
        const double bound = name.starts_with("hf/") && recording.empty() ? kCpuHfBound : kCpuF16Bound;
        EXPECT_LE(range_error(got, expected.logits), bound) << isa << " chunk " << chunk;
      }
    }
  }
}

TEST_P(Reference, CpuWithAnExactCacheOnlyRounds) {
  if (is_int8(GetParam().name)) return;  // int8 activations; their bound is above
  const Expected expected = read_expected(GetParam());
  const auto got = logits_of(GetParam(), *make_cpu_backend({}), expected.tokens, 7, {.kv_type = DType::kF32});
  EXPECT_LE(range_error(got, expected.logits), kCpuExactBound);
}

// What an 8-bit cache costs is reported; the bounds only catch a cache that is broken.
TEST_P(Reference, CpuWithAnEightBitCache) {
  const Expected expected = read_expected(GetParam());
  const std::vector<float> recording = recording_of(GetParam(), expected.tokens);
  ModelOptions options = forcing(recording, expected.tokens.size());
  for (const DType type : {DType::kQ8_0, DType::kF8_E4M3}) {
    if (!takes_cache(GetParam(), type)) continue;
    options.kv_type = type;
    const auto whole = logits_of(GetParam(), *make_cpu_backend({}), expected.tokens, 0, options);
    const double kl = median_kl(whole, expected.logits, expected.vocab());
    std::printf("%-24s cache %s: median KL %.2e\n", GetParam().name.c_str(), std::string(name(type)).c_str(), kl);
    EXPECT_LE(kl, type == DType::kQ8_0 ? kQ8CacheMedianKl : kF8CacheMedianKl);
    EXPECT_EQ(logits_of(GetParam(), *make_cpu_backend({}), expected.tokens, 1, options), whole);
    const auto oracle = logits_of(GetParam(), *make_oracle_backend(), expected.tokens, 0, options);
    EXPECT_LE(median_kl(whole, oracle, expected.vocab()), kInt8MedianKl);
  }
}

TEST_P(Reference, ChunksAgreeWithEachOther) {
  const Expected expected = read_expected(GetParam());
  for (const std::string& isa : tuned_isas()) {
    const auto backend = make_cpu_backend({.isa = isa});
    const auto whole = logits_of(GetParam(), *backend, expected.tokens, 0);
    for (const uint64_t chunk : {uint64_t{1}, uint64_t{7}})
      EXPECT_LE(range_error(logits_of(GetParam(), *backend, expected.tokens, chunk), whole), kCpuHfBound) << isa;
  }
}

INSTANTIATE_TEST_SUITE_P(Hf, Reference, ::testing::ValuesIn(hf_cases()), test_name);
INSTANTIATE_TEST_SUITE_P(Gguf, Reference, ::testing::ValuesIn(gguf_cases()), test_name);

class Greedy : public ::testing::TestWithParam<ReferenceCase> {};

// Equal up to the first token whose margin is no larger than the logits' error could flip.
void expect_same_greedy(const ReferenceCase& c, const Backend& backend, double bound) {
  const Expected expected = read_expected(c);
  const auto [low, high] = std::minmax_element(expected.logits.begin(), expected.logits.end());
  const double difference = bound * (static_cast<double>(*high) - *low);
  const auto got = greedy(c, backend, expected.greedy_prompt, expected.greedy_tokens.size());
  for (size_t i = 0; i < got.size(); ++i) {
    if (got[i] == expected.greedy_tokens[i]) continue;
    EXPECT_LE(expected.greedy_margin[i], difference) << c.name << " token " << i;
    return;
  }
}

TEST_P(Greedy, Oracle) { expect_same_greedy(GetParam(), *make_oracle_backend(), kOracleBound); }
TEST_P(Greedy, Cpu) { expect_same_greedy(GetParam(), *make_cpu_backend({}), kCpuHfBound); }

INSTANTIATE_TEST_SUITE_P(Hf, Greedy, ::testing::ValuesIn(hf_cases()), test_name);

}  // namespace
}  // namespace stretto::test
