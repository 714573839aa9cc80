// The statistics of bench, and what its runs leave in the session.

#include "engine/bench.h"

#include <gtest/gtest.h>

#include "cpu/cpu_backend.h"
#include "engine/engine.h"

namespace stretto {
namespace {

TEST(BenchTestName, AsLlamaBenchWritesIt) {
  EXPECT_EQ((BenchTest{512, 0, 0}).name(), "pp512");
  EXPECT_EQ((BenchTest{0, 128, 4096}).name(), "tg128 @ d4096");
  EXPECT_EQ((BenchTest{512, 128, 0}).name(), "pp512+tg128");
}

TEST(BenchSamples, Statistics) {
  const BenchSamples s{.test = {0, 10, 0}, .ns = {1'000'000'000, 2'000'000'000, 4'000'000'000}};
  EXPECT_NEAR(s.average_ns(), 7e9 / 3, 1);
  EXPECT_EQ(s.tokens_per_second(), (std::vector<double>{10, 5, 2.5}));
  EXPECT_EQ(s.median_ts(), 5);
  EXPECT_NEAR(s.average_ts(), 17.5 / 3, 1e-9);
  EXPECT_NEAR(s.stddev_ts(), 3.8188, 1e-3);
  EXPECT_EQ((BenchSamples{.test = {1, 0, 0}, .ns = {5}}).stddev_ns(), 0);
  EXPECT_EQ(s.sweep_share(1'000'000'000), 0);  // no sweep
}

TEST(BenchSamples, EachRepetitionIsComparedWithItsOwnSweep) {
  const BenchSamples s{
      .test = {0, 10, 0}, .ns = {1'000'000'000, 2'000'000'000, 500'000'000}, .sweep_gbps = {20, 10, 50}};
  EXPECT_NEAR(s.sweep_share(1'000'000'000), 0.5, 1e-9);  // 10/20, 5/10, 20/50
  EXPECT_EQ(s.median_sweep_gbps(), 20);
}

TEST(RunBench, CountsRepetitionsAndKeepsTheDepth) {
  const auto checkpoint = open_checkpoint(STRETTO_BINARY_DIR "/refs/hf/qwen3");
  const auto backend = make_cpu_backend({});
  const EngineLog log{.line = [](const std::string&) {}, .progress = {}};
  Engine engine(*checkpoint, *backend, {.n_ctx = 64, .max_tokens = 8}, log);
  Session session = engine.make_session();
  int calls = 0;
  BenchOptions options{.repetitions = 3, .proceed = {}};
  options.proceed = [&](const BenchTest&, int) { return ++calls < 100; };
  const BenchSamples s = run_bench(session, {.n_prompt = 10, .n_gen = 4, .n_depth = 20}, options);
  EXPECT_EQ(s.ns.size(), 3U);
  EXPECT_EQ(calls, 4);  // the warm-up too
  EXPECT_EQ(session.position(), 34U);
  options.proceed = [](const BenchTest&, int repetition) { return repetition < 1; };
  EXPECT_EQ(run_bench(session, {.n_gen = 2}, options).ns.size(), 1U);
}

}  // namespace
}  // namespace stretto
