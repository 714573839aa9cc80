#include "engine/sampler.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>

namespace stretto {
namespace {

const std::vector<float> kLogits = {2, 1.5, 1, 0.5, 0, -1};

// Which ids ever come out, and how often.
std::map<int32_t, int> draw(SamplingParams params, int n, const std::vector<float>& logits = kLogits) {
  Sampler sampler(params, logits.size());
  std::map<int32_t, int> seen;
  for (int i = 0; i < n; ++i) ++seen[sampler.sample(logits)];
  return seen;
}

SamplingParams open_params() { return {.temperature = 1, .top_k = 0, .top_p = 1, .min_p = 0, .seed = 7}; }

TEST(Sampler, GreedyTakesTheLowestIdOnATie) {
  Sampler sampler({.temperature = 0}, 4);
  EXPECT_EQ(sampler.sample(std::vector<float>{1, 3, 3, 2}), 1);
}

TEST(Sampler, SuppressedIdsNeverComeOut) {
  Sampler greedy({.temperature = 0}, 4, {1, 2});
  EXPECT_EQ(greedy.sample(std::vector<float>{1, 3, 3, 2}), 3);
  Sampler warm({.temperature = 5, .top_k = 0, .top_p = 1, .min_p = 0, .seed = 1}, 6, {0});
  for (int i = 0; i < 200; ++i) EXPECT_NE(warm.sample(kLogits), 0);
}

TEST(Sampler, FrequenciesFollowTheSoftmax) {
  const int n = 40000;
  const auto seen = draw(open_params(), n);
  const double expected[] = {0.419699, 0.254560, 0.154398, 0.093647, 0.056800, 0.020896};
  for (int i = 0; i < 6; ++i)
    EXPECT_NEAR(seen.at(i) / double{n}, expected[i], 4 * std::sqrt(expected[i] * (1 - expected[i]) / n)) << i;
}

TEST(Sampler, TopKTopPMinPKeepTheStatedSets) {
  SamplingParams p = open_params();
  p.top_k = 2;
  EXPECT_EQ(draw(p, 2000).size(), 2U);
  p = open_params();
  p.top_p = 0.9;  // cumulative 0.829 after three, 0.922 after four
  EXPECT_EQ(draw(p, 5000).size(), 4U);
  p = open_params();
  p.min_p = 0.2;
  EXPECT_EQ(draw(p, 5000).size(), 4U);
}

TEST(Sampler, TemperatureSharpens) {
  SamplingParams p = open_params();
  p.temperature = 0.05;
  EXPECT_GT(draw(p, 1000)[0], 990);
}

TEST(Sampler, SameSeedSameTokens) {
  Sampler a(open_params(), 6), b(open_params(), 6);
  SamplingParams other = open_params();
  other.seed = 8;
  Sampler c(other, 6);
  int different = 0;
  for (int i = 0; i < 100; ++i) {
    const int32_t x = a.sample(kLogits);
    EXPECT_EQ(x, b.sample(kLogits));
    different += x != c.sample(kLogits);
  }
  EXPECT_GT(different, 10);
}

}  // namespace
}  // namespace stretto
