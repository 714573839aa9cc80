// The persistent stream against the graph path.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "base/error.h"
#include "cuda/device.h"
#include "cuda/executable.h"
#include "cuda/vain_wait.h"
#include "models/reference_models.h"

namespace stretto::test {
namespace {

constexpr double kRangeBound = 1e-2, kMeanKlBound = 1e-4;

std::vector<std::string> dense_models() {
  return {"gguf/llama.q8_0", "gguf/llama.q4_k_m", "gguf/llama.f16", "gguf/qwen3.f16"};
}

double mean_kl(const std::vector<float>& got, const std::vector<float>& expected, size_t vocab) {
  const auto log_softmax = [&](const float* x) {
    double top = *std::max_element(x, x + vocab), sum = 0;
    for (size_t i = 0; i < vocab; ++i) sum += std::exp(x[i] - top);
    std::vector<double> out(vocab);
    for (size_t i = 0; i < vocab; ++i) out[i] = x[i] - top - std::log(sum);
    return out;
  };
  double total = 0;
  for (size_t at = 0; at < expected.size(); at += vocab) {
    const auto p = log_softmax(expected.data() + at), q = log_softmax(got.data() + at);
    for (size_t i = 0; i < vocab; ++i) total += std::exp(p[i]) * (p[i] - q[i]);
  }
  return total / static_cast<double>(expected.size() / vocab);
}

TEST(CudaStream, LogitsAreThoseOfTheGraph) {
  SKIP_WITHOUT_DEVICE();
  const auto graph = make_cuda_backend({}), stream = make_cuda_backend({.decode = DecodePath::kStream});
  for (const std::string& name : dense_models()) {
    const ReferenceCase c{name};
    const Expected expected = read_expected(c);
    for (const DType type : {DType::kF16, DType::kBF16}) {
      const auto wanted = logits_of(c, *graph, expected.tokens, 1, {.kv_type = type});
      const auto got = logits_of(c, *stream, expected.tokens, 1, {.kv_type = type});
      const double error = range_error(got, wanted), kl = mean_kl(got, wanted, expected.vocab());
      std::printf("%-24s range error %.2e, mean KL %.2e\n", name.c_str(), error, kl);
      EXPECT_LE(error, kRangeBound) << name;
      EXPECT_LE(kl, kMeanKlBound) << name;
      EXPECT_EQ(logits_of(c, *stream, expected.tokens, 1, {.kv_type = type}), got) << name << " again";
    }
  }
}

struct Loop {
  std::unique_ptr<Checkpoint> checkpoint;
  Model model;
  std::unique_ptr<Executable> executable;

  Loop(const std::string& name, DecodePath path, uint64_t n_ctx)
      : checkpoint(open_checkpoint(ReferenceCase{name}.model_path())),
        model(load_model(*checkpoint, {.kv_type = DType::kF16})),
        executable(make_cuda_backend({.decode = path})
                       ->compile(model.program, {.n_ctx = n_ctx, .max_tokens = 4, .max_outputs = 1})) {}

  // What the backend has to say goes to `said`.
  Loop(const std::string& name, std::string& said, uint64_t n_ctx)
      : checkpoint(open_checkpoint(ReferenceCase{name}.model_path())),
        model(load_model(*checkpoint, {.kv_type = DType::kF16})),
        executable(
            make_cuda_backend({.decode = DecodePath::kAuto, .remark = [&said](const std::string& l) { said += l; }})
                ->compile(model.program, {.n_ctx = n_ctx, .max_tokens = 4, .max_outputs = 1})) {}

  std::vector<int32_t> tokens(uint64_t n) const {
    std::vector<int32_t> out;
    EXPECT_TRUE(executable->start_greedy(1, 0));
    for (uint64_t i = 0; i < n; ++i) out.push_back(executable->next_token());
    return out;
  }
};

TEST(CudaStream, GreedyTokensAreThoseOfTheGraph) {
  SKIP_WITHOUT_DEVICE();
  constexpr uint64_t kTokens = 512;
  for (const std::string& name : dense_models()) {
    const Loop graph(name, DecodePath::kGraph, kTokens + 1), stream(name, DecodePath::kStream, kTokens + 1);
    const auto wanted = graph.tokens(kTokens), got = stream.tokens(kTokens);
    const auto apart = std::mismatch(got.begin(), got.end(), wanted.begin());
    std::printf("%-24s the same for %d tokens\n", name.c_str(), static_cast<int>(apart.first - got.begin()));
    if (apart.first != got.end()) {
      // A near tie: the graph's own logits of the two tokens that were chosen.
      const auto at = static_cast<uint64_t>(apart.first - got.begin());
      const int32_t output = 0;
      std::vector<float> logits;
      for (uint64_t i = 0; i <= at; ++i) {
        const int32_t id = i == 0 ? 1 : wanted[i - 1];
        const auto l = graph.executable->run({.tokens = {&id, 1}, .position = i, .outputs = {&output, 1}});
        logits.assign(l.begin(), l.end());
      }
      const auto [low, high] = std::minmax_element(logits.begin(), logits.end());
      EXPECT_LE(std::abs(logits[static_cast<size_t>(*apart.first)] - logits[static_cast<size_t>(*apart.second)]),
                kRangeBound * (*high - *low))
          << name << " token " << at;
    }
    // The loop and single steps give the same tokens, a loop that was left early and begun anew too.
    EXPECT_EQ(stream.tokens(5), std::vector<int32_t>(got.begin(), got.begin() + 5));
    EXPECT_EQ(stream.tokens(kTokens), got) << name << " again";
    int32_t id = 1;
    const int32_t output = 0;
    for (uint64_t i = 0; i < 40; ++i) {
      const auto l = stream.executable->run({.tokens = {&id, 1}, .position = i, .outputs = {&output, 1}});
      id = static_cast<int32_t>(std::max_element(l.begin(), l.end()) - l.begin());
      ASSERT_EQ(id, got[i]) << name << " step " << i;
    }
  }
}

// Heads of 16 and 32 have no attention in the stream.
TEST(CudaStream, WhatItCannotRunIsRefusedByName) {
  SKIP_WITHOUT_DEVICE();
  for (const char* name : {"hf/llama", "hf/qwen3", "hf/mistral"}) {
    try {
      const Loop loop(name, DecodePath::kStream, 64);
      ADD_FAILURE() << name;
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::kUnsupported);
      EXPECT_NE(std::string(e.what()).find("cannot run this"), std::string::npos) << e.what();
    }
    std::string said;
    EXPECT_EQ(Loop(name, said, 64).tokens(20), Loop(name, DecodePath::kGraph, 64).tokens(20)) << name;
    EXPECT_NE(said.find("decode: graph (the persistent stream cannot run this: "), std::string::npos) << said;
  }
}

// Nothing is measured at load, nor for sampled tokens; then once for each doubling of the position. What is measured
// lies behind the state.
TEST(CudaStream, AutoMeasuresWhereGreedyTokensBegin) {
  SKIP_WITHOUT_DEVICE();
  const std::string name = "gguf/llama.f16";  // both paths choose the same tokens
  const auto wanted = Loop(name, DecodePath::kGraph, 128).tokens(100);
  std::string said;
  const Loop loop(name, said, 4400);
  Executable& executable = *loop.executable;
  const int32_t output = 0;
  for (uint64_t i = 0; i < 40; ++i) {
    const int32_t id = i == 0 ? 1 : wanted[i - 1];
    executable.run({.tokens = {&id, 1}, .position = i, .outputs = {&output, 1}});
  }
  const std::mt19937_64 random(3);
  TokenChoice choice{.bias = {}, .history = {}, .random = &random};
  choice.steps[choice.n_steps++] = {ChoiceStep::kTopK, 40};
  EXPECT_TRUE(executable.start_decode(wanted[39], 40, choice));
  executable.next_token();
  EXPECT_EQ(said, "");
  EXPECT_TRUE(executable.start_greedy(wanted[39], 40));
  for (size_t i = 40; i < 90; ++i) ASSERT_EQ(executable.next_token(), wanted[i]) << i;
  EXPECT_NE(said.find("measured from position 40: stream "), std::string::npos) << said;
  const size_t n_said = said.size();
  EXPECT_EQ(loop.tokens(100), wanted);
  EXPECT_EQ(said.size(), n_said) << said;
  EXPECT_TRUE(executable.start_greedy(1, 4200));
  executable.next_token();
  EXPECT_NE(said.find("measured from position 4200: stream "), std::string::npos) << said;
  EXPECT_TRUE(executable.start_greedy(1, 4398));
  executable.next_token();
  executable.stop_decode();
}

// Keys and values in front come from the same kernels; then steps here and there, with runs of the context that are
// short or long and pieces of eight or sixteen positions, and loops whose later tokens read what the earlier ones
// wrote.
TEST(CudaStream, AttentionAtAnyDepthInAnyPieces) {
  SKIP_WITHOUT_DEVICE();
  constexpr uint64_t kContext = 1600;
  for (const char* name : {"gguf/qwen3.f16", "gguf/llama.q8_0"}) {
    const Loop graph(name, DecodePath::kGraph, kContext), stream(name, DecodePath::kStream, kContext);
    auto& streaming = dynamic_cast<cuda::CudaExecutable&>(*stream.executable);
    const uint64_t vocab = graph.model.program.tables[graph.model.program.logits].width;
    const int32_t output = 0;
    const auto step = [&](const Loop& loop, int32_t id, uint64_t position) {
      const auto l = loop.executable->run({.tokens = {&id, 1}, .position = position, .outputs = {&output, 1}});
      return std::vector<float>(l.begin(), l.end());
    };
    for (const Loop* loop : {&graph, &stream})
      for (uint64_t at = 0; at < kContext; at += 4) {
        std::vector<int32_t> ids;
        for (uint64_t i = at; i < at + 4; ++i) ids.push_back(static_cast<int32_t>((i * i + 7 * i) % vocab));
        loop->executable->run({.tokens = ids, .position = at, .outputs = {}});
      }
    for (const uint32_t stage_bytes : {0, 2304, 4608})
      for (const uint32_t min_granules : {0, 2, 60}) {
        cuda::Choices choices;
        choices.stream.stage_bytes = stage_bytes;
        choices.attention.min_granules = min_granules;
        stream.executable->stop_decode();
        streaming.choose(choices);
        ASSERT_EQ(streaming.stream_runner()->problem(), "");
        for (const uint64_t position : {1499, 1023, 488, 130, 127, 16, 9, 8, 7})
          EXPECT_LE(range_error(step(stream, 3, position), step(graph, 3, position)), kRangeBound)
              << name << " position " << position << " stages " << stage_bytes << " granules " << min_granules;
        constexpr uint64_t kLoop = 1531;  // behind all of those
        std::vector<int32_t> looped, stepped;
        EXPECT_TRUE(stream.executable->start_greedy(5, kLoop));
        for (int i = 0; i < 30; ++i) looped.push_back(stream.executable->next_token());
        int32_t id = 5;
        for (uint64_t i = 0; i < 30; ++i) {
          const std::vector<float> l = step(stream, id, kLoop + i);
          stepped.push_back(id = static_cast<int32_t>(std::max_element(l.begin(), l.end()) - l.begin()));
        }
        EXPECT_EQ(looped, stepped) << name << " stages " << stage_bytes << " granules " << min_granules;
      }
  }
}

// Counters that wrap, and tapes that end early.
TEST(CudaStream, LaunchAfterLaunchAtAnyDepth) {
  SKIP_WITHOUT_DEVICE();
  const Loop loop("gguf/llama.q8_0", DecodePath::kStream, 512);
  auto& executable = dynamic_cast<cuda::CudaExecutable&>(*loop.executable);
  const auto wanted = loop.tokens(64);
  executable.stream_runner()->set_arrivals(UINT32_MAX - 5000);
  EXPECT_EQ(loop.tokens(64), wanted);
  for (uint32_t n = 1; n <= executable.stream_runner()->n_phases(); ++n) {
    cuda::Choices choices;
    choices.stream.n_phases = n;
    executable.choose(choices);
    const int32_t id = 1, output = 0;
    executable.run({.tokens = {&id, 1}, .position = 300, .outputs = {&output, 1}});
    executable.choose({});
  }
  EXPECT_EQ(loop.tokens(64), wanted);
}

// Rings of few or many stages, of which few or many are under way.
TEST(CudaStream, RingsOfAnyNumberOfStagesAndWindowsOfAnySize) {
  SKIP_WITHOUT_DEVICE();
  const Loop loop("gguf/llama.q8_0", DecodePath::kStream, 64);
  auto& executable = dynamic_cast<cuda::CudaExecutable&>(*loop.executable);
  const auto wanted = loop.tokens(40);
  for (const uint32_t ring_bytes : {36'000, 40'000, 55'555, 68'000, 90'000, 999'999}) {
    loop.executable->stop_decode();
    cuda::Choices choices;
    choices.stream.ring_bytes = ring_bytes;
    executable.choose(choices);
    ASSERT_EQ(executable.stream_runner()->problem(), "");
    EXPECT_EQ(loop.tokens(40), wanted) << ring_bytes;
  }
  for (const uint32_t window_bytes : {1, 10'000, 30'000, 999'999}) {
    loop.executable->stop_decode();
    cuda::Choices choices;
    choices.stream.window_bytes = window_bytes;
    executable.choose(choices);
    EXPECT_EQ(loop.tokens(40), wanted) << "window " << window_bytes;
  }
}

// A wait that can never end: for a vector, for weights.
TEST(CudaStream, WaitsInVainEndInAnErrorThatNamesThePhase) {
  SKIP_WITHOUT_DEVICE();
  const Loop loop("gguf/llama.q8_0", DecodePath::kStream, 64);
  auto& executable = dynamic_cast<cuda::CudaExecutable&>(*loop.executable);
  cuda::StreamRunner& runner = *executable.stream_runner();
  const auto wanted = loop.tokens(20);
  loop.executable->stop_decode();
  const auto expect_error = [&](uint32_t phase) {
    expect_vain_wait(runner, "phase " + std::to_string(phase) + " (");
    EXPECT_EQ(loop.tokens(20), wanted);
    loop.executable->stop_decode();
  };
  for (const uint32_t phase : {0, 1, 2, 4}) {
    runner.withhold_results(phase);
    expect_error(phase + 1);
  }
  runner.withhold_weights();
  expect_error(runner.n_phases() - 1);
}

TEST(CudaStream, ClocksCoverEveryPhase) {
  SKIP_WITHOUT_DEVICE();
  const Loop loop("gguf/llama.q8_0", DecodePath::kStream, 64);
  auto& executable = dynamic_cast<cuda::CudaExecutable&>(*loop.executable);
  executable.stream_runner()->measure(true);
  loop.tokens(4);
  const auto times = executable.stream_runner()->times();
  EXPECT_EQ(times.size() % executable.stream_runner()->n_phases(), 0U);
  double total = 0;
  for (const cuda::StreamTime& t : times) total += t.work_ns;
  EXPECT_GT(total, 0);
}

}  // namespace
}  // namespace stretto::test
