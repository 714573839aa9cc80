// Perplexity and divergence against values worked out by hand.

#include "engine/perplexity.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"
#include "cpu/cpu_backend.h"
#include "engine/engine.h"

namespace stretto {
namespace {

TEST(Windows, CutWithBosAndWithoutTheRest) {
  std::vector<int32_t> tokens(11);
  for (int i = 0; i < 11; ++i) tokens[static_cast<size_t>(i)] = i;
  const auto w = perplexity_windows(tokens, {.n_ctx = 5, .bos = 99});
  ASSERT_EQ(w.size(), 2U);
  EXPECT_EQ(w[0], (std::vector<int32_t>{99, 1, 2, 3, 4}));
  EXPECT_EQ(w[1], (std::vector<int32_t>{99, 6, 7, 8, 9}));
  EXPECT_EQ(perplexity_windows(tokens, {.n_ctx = 5, .max_windows = 1}).size(), 1U);
  EXPECT_THROW(perplexity_windows(tokens, {.n_ctx = 12}), Error);
  EXPECT_THROW(perplexity_windows(tokens, {.n_ctx = 2}), Error);
}

TEST(Divergence, OfKnownDistributions) {
  const std::vector<float> p = {std::log(0.5F), std::log(0.25F), std::log(0.25F)};
  const std::vector<float> q = {std::log(0.25F), std::log(0.5F), std::log(0.25F)};
  Divergence d;
  d.add(p, p, 0);
  d.add(p, q, 0);
  const auto s = d.summary();
  const double kl = 0.25 * std::log(2.0);
  EXPECT_EQ(s.n, 2U);
  EXPECT_NEAR(s.max_kl, kl, 1e-6);
  EXPECT_NEAR(s.mean_kl, kl / 2, 1e-6);
  EXPECT_EQ(s.same_top, 0.5);
  EXPECT_NEAR(s.rms_delta_p, 0.25 / std::sqrt(2.0), 1e-6);
  EXPECT_NEAR(s.ln_ppl_ratio, std::log(2.0) / 2, 1e-6);
}

TEST(Divergence, DoesNotDependOnAConstant) {
  const std::vector<float> p = {1, 2, 3}, shifted = {101, 102, 103};
  Divergence d;
  d.add(p, shifted, 1);
  EXPECT_NEAR(d.summary().mean_kl, 0, 1e-6);
}

TEST(RunPerplexity, ScoresTheSecondHalfOfEachWindow) {
  const auto checkpoint = open_checkpoint(STRETTO_BINARY_DIR "/refs/hf/qwen3");
  const auto backend = make_cpu_backend({});
  const EngineLog log{.line = [](const std::string&) {}, .progress = {}};
  Engine engine(*checkpoint, *backend, {.n_ctx = 16, .max_tokens = 4, .max_outputs = 4}, log);
  Session session = engine.make_session();
  std::vector<int32_t> tokens(32);
  for (size_t i = 0; i < tokens.size(); ++i) tokens[i] = static_cast<int32_t>(i * 37 % 512);
  const auto windows = perplexity_windows(tokens, {.n_ctx = 16});
  double sum = 0;
  std::vector<uint64_t> positions;
  PerplexityHooks hooks;
  hooks.score = [&](uint64_t, uint64_t position, std::span<const float> logits, int32_t next) {
    positions.push_back(position);
    sum += log_sum_exp(logits) - logits[static_cast<size_t>(next)];
  };
  const PerplexityResult r = run_perplexity(session, windows, hooks);
  EXPECT_EQ(r.n_tokens, 14U);
  EXPECT_EQ(std::vector<uint64_t>(positions.begin(), positions.begin() + 7),
            (std::vector<uint64_t>{8, 9, 10, 11, 12, 13, 14}));
  EXPECT_NEAR(r.nll, sum / 14, 1e-9);
  EXPECT_NEAR(r.perplexity(), std::exp(r.nll), 1e-6);
}

}  // namespace
}  // namespace stretto
