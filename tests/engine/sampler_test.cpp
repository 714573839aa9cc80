// The sampling chain against the specification's worked example (logits 2, 1.5, 1, 0.5, 0, -1) and its formulas.

#include "engine/sampler.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "base/error.h"

namespace stretto {
namespace {

const std::vector<float> kLogits = {2, 1.5, 1, 0.5, 0, -1};

SamplingParams neutral() {
  SamplingParams p;
  p.temperature = 1;
  p.top_k = 0;
  p.top_p = 1;
  p.min_p = 0;
  p.seed = 7;
  return p;
}

// Which ids ever come out, and how often.
std::map<int32_t, int> draw(const SamplingParams& params, int n, const std::vector<int32_t>& history = {}) {
  Sampler sampler(params, kLogits.size());
  sampler.accept(history);
  std::map<int32_t, int> seen;
  for (int i = 0; i < n; ++i) ++seen[sampler.sample(kLogits)];
  return seen;
}

std::vector<int32_t> ids(const Candidates& c) {
  std::vector<int32_t> out;
  for (const Candidate& x : c.list()) out.push_back(x.id);
  return out;
}

Candidates candidates() {
  Candidates c;
  c.assign(kLogits);
  return c;
}

TEST(Steps, KeepTheStatedSets) {
  Candidates c = candidates();
  c.keep_top_k(2);
  EXPECT_EQ(ids(c), (std::vector<int32_t>{0, 1}));
  c = candidates();
  c.keep_top_p(0.9, 1);
  EXPECT_EQ(c.size(), 4U);
  c = candidates();
  c.keep_min_p(0.2, 1);
  EXPECT_EQ(c.size(), 4U);
  c = candidates();
  c.keep_typical(0.5, 1);
  EXPECT_EQ(ids(c), (std::vector<int32_t>{0, 1, 2}));
  c = candidates();
  c.keep_top_n_sigma(1);
  EXPECT_EQ(c.size(), 2U);
  c = candidates();
  c.remove_top_choices(0.1, 1);
  EXPECT_EQ(ids(c), (std::vector<int32_t>{2, 3, 4, 5}));
}

TEST(Steps, MinKeepIsKept) {
  Candidates c = candidates();
  c.keep_top_p(0.1, 3);
  EXPECT_EQ(c.size(), 3U);
  c = candidates();
  c.keep_min_p(0.99, 2);
  EXPECT_EQ(c.size(), 2U);
  c = candidates();
  c.remove_top_choices(0.1, 6);
  EXPECT_EQ(c.size(), 6U);
}

TEST(Steps, DynamicTemperature) {
  Candidates c = candidates();
  c.scale_by_entropy(1, 0.5, 1);
  EXPECT_NEAR(c[0].logit, 2 / 1.318556, 1e-6);
}

TEST(Steps, MirostatTwoCutsBySurprise) {
  Candidates c = candidates();
  c.keep_below_surprise(2);  // surprises 1.25, 1.97, 2.70 ...
  EXPECT_EQ(c.size(), 2U);
  c = candidates();
  c.keep_below_surprise(0.1);
  EXPECT_EQ(c.size(), 1U);
}

TEST(Steps, NothingFiniteStillGivesAToken) {
  Candidates c;
  c.assign(std::vector<float>(4, -INFINITY));
  EXPECT_EQ(c.size(), 1U);
  c.assign(std::vector<float>(4, NAN));
  EXPECT_EQ(c.size(), 1U);
}

TEST(Sampler, GreedyTakesTheLowestIdOnATie) {
  SamplingParams p = neutral();
  p.temperature = 0;
  EXPECT_EQ(Sampler(p, 4).sample(std::vector<float>{1, 3, 3, 2}), 1);
  p.repeat_penalty = 1.1;  // the slow path must agree
  EXPECT_EQ(Sampler(p, 4).sample(std::vector<float>{1, 3, 3, 2}), 1);
}

TEST(Sampler, SuppressedAndBiasedIds) {
  SamplingParams p = neutral();
  p.temperature = 0;
  EXPECT_EQ(Sampler(p, 4, {1, 2}).sample(std::vector<float>{1, 3, 3, 2}), 3);
  p.logit_bias = {{0, 5.0}};
  EXPECT_EQ(Sampler(p, 4).sample(std::vector<float>{1, 3, 3, 2}), 0);
  p.logit_bias = {{1, -INFINITY}};
  EXPECT_EQ(Sampler(p, 4).sample(std::vector<float>{1, 3, 3, 2}), 2);
}

TEST(Sampler, FrequenciesFollowTheSoftmax) {
  const int n = 40000;
  const auto seen = draw(neutral(), n);
  const double expected[] = {0.419699, 0.254560, 0.154398, 0.093647, 0.056800, 0.020896};
  for (int i = 0; i < 6; ++i)
    EXPECT_NEAR(seen.at(i) / double{n}, expected[i], 4 * std::sqrt(expected[i] * (1 - expected[i]) / n)) << i;
}

TEST(Sampler, StepsRunInTheGivenOrder) {
  SamplingParams p = neutral();
  p.temperature = 0.5;
  p.min_p = 0.3;
  EXPECT_EQ(draw(p, 3000).size(), 3U);  // e^-1 = 0.37 is the third
  p.order = {"temperature", "min_p"};
  EXPECT_EQ(draw(p, 3000).size(), 2U);  // after halving the temperature it is 0.135
}

TEST(Sampler, SameSeedSameTokens) {
  Sampler a(neutral(), 6), b(neutral(), 6);
  SamplingParams other = neutral();
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

TEST(Sampler, MirostatMovesTowardsItsTarget) {
  for (const int version : {1, 2}) {
    SamplingParams p = neutral();
    p.mirostat = version;
    p.mirostat_tau = 0.1;  // bits: far below the entropy, so in the end nearly always the top token
    const auto seen = draw(p, 2000);
    EXPECT_GT(seen.at(0), 1500) << version;
  }
}

TEST(Penalties, Formula) {
  SamplingParams p = neutral();
  p.repeat_penalty = 2;
  p.frequency_penalty = 0.25;
  p.presence_penalty = 0.5;
  std::vector<float> l = {3, -1, 1, 1};
  apply_penalties(p, std::vector<int32_t>{0, 0, 1}, l);
  EXPECT_FLOAT_EQ(l[0], 1.5F - 2 * 0.25F - 0.5F);
  EXPECT_FLOAT_EQ(l[1], -2 - 0.25F - 0.5F);
  EXPECT_FLOAT_EQ(l[2], 1);
}

TEST(Penalties, LookBackOnlyLastN) {
  SamplingParams p = neutral();
  p.presence_penalty = 1;
  p.repeat_last_n = 2;
  std::vector<float> l = {0, 0, 0};
  apply_penalties(p, std::vector<int32_t>{0, 1, 2}, l);
  EXPECT_EQ(l, (std::vector<float>{0, -1, -1}));
  p.repeat_last_n = -1;
  apply_penalties(p, std::vector<int32_t>{0, 1, 2}, l);
  EXPECT_EQ(l, (std::vector<float>{-1, -2, -2}));
}

std::vector<float> dry(const std::vector<int32_t>& history, const DryBreakers& breakers = {}, int32_t last_n = -1) {
  SamplingParams p = neutral();
  p.dry_multiplier = 1;
  p.dry_base = 2;
  p.dry_allowed_length = 2;
  p.dry_penalty_last_n = last_n;
  std::vector<float> l(10, 0.0F);
  apply_dry(p, breakers, history, l);
  return l;
}

TEST(Dry, PunishesWhatWouldGoOnRepeating) {
  const auto two = dry({1, 2, 3, 9, 1, 2});  // "1 2" came before 3
  EXPECT_FLOAT_EQ(two[3], -1);
  EXPECT_FLOAT_EQ(two[9], 0);
  const auto three = dry({5, 1, 2, 3, 9, 5, 1, 2});
  EXPECT_FLOAT_EQ(three[3], -2);
  const auto one = dry({2, 3, 9, 2});
  EXPECT_FLOAT_EQ(one[3], 0);
}

TEST(Dry, BreakersAndWindowEndARepetition) {
  DryBreakers breakers;
  breakers[1] = {{}};
  EXPECT_FLOAT_EQ(dry({1, 2, 3, 9, 1, 2}, breakers)[3], 0);
  EXPECT_FLOAT_EQ(dry({5, 6, 3, 9, 5, 6}, breakers)[3], -1);
  DryBreakers pair;  // 5 followed by 6
  pair[5] = {{6}};
  EXPECT_FLOAT_EQ(dry({5, 6, 3, 9, 5, 6}, pair)[3], 0);
  EXPECT_FLOAT_EQ(dry({1, 2, 3, 9, 1, 2}, {}, 3)[3], 0);
}

TEST(DeviceChoice, IsTheChainInItsOrder) {
  SamplingParams p;
  p.min_p = 0.5;
  p.logit_bias = {{4, 1.0}, {2, 0.5}, {4, 0.25}};
  p.presence_penalty = 1;
  Sampler sampler(p, 6, {2, 9});
  const int32_t history[] = {1, 2, 3};
  sampler.accept(history);
  TokenChoice c;
  EXPECT_EQ(sampler.device_choice(c), "");
  ASSERT_EQ(c.n_steps, 4U);
  EXPECT_EQ(c.steps[0].kind, ChoiceStep::kTopK);
  EXPECT_EQ(c.steps[0].value, 40);
  EXPECT_EQ(c.steps[1].kind, ChoiceStep::kTopP);
  EXPECT_EQ(c.steps[2].kind, ChoiceStep::kMinP);
  EXPECT_EQ(c.steps[2].value, std::log(0.5));
  EXPECT_EQ(c.steps[3].kind, ChoiceStep::kTemperature);
  ASSERT_EQ(c.bias.size(), 2U);
  EXPECT_EQ(c.bias[0], std::pair(2, -INFINITY));
  EXPECT_EQ(c.bias[1], std::pair(4, 1.25F));
  EXPECT_EQ(c.window, 64);
  EXPECT_EQ(std::vector<int32_t>(c.history.begin(), c.history.end()), (std::vector<int32_t>{1, 2, 3}));
  EXPECT_NE(c.random, nullptr);
  EXPECT_FALSE(c.is_greedy());
}

TEST(DeviceChoice, GreedyIsOneCase) {
  SamplingParams p;
  p.temperature = 0;
  TokenChoice c;
  EXPECT_EQ(Sampler(p, 6).device_choice(c), "");
  EXPECT_TRUE(c.is_greedy());
  EXPECT_TRUE(TokenChoice{}.is_greedy());
}

TEST(DeviceChoice, SaysWhatOnlyTheHostDoes) {
  const auto reason = [](auto change) {
    SamplingParams p;
    change(p);
    TokenChoice c;
    return Sampler(p, 6).device_choice(c);
  };
  EXPECT_EQ(reason([](auto& p) { p.mirostat = 2; }), "mirostat");
  EXPECT_EQ(reason([](auto& p) { p.dry_multiplier = 1; }), "DRY");
  EXPECT_EQ(reason([](auto& p) { p.typical_p = 0.9; }), "typical");
  EXPECT_EQ(reason([](auto& p) { p.top_n_sigma = 1; }), "top-n-sigma");
  EXPECT_EQ(reason([](auto& p) { p.xtc_probability = 0.5; }), "XTC");
  EXPECT_EQ(reason([](auto& p) { p.dynatemp_range = 0.5; }), "dynamic temperature");
  EXPECT_EQ(reason([](auto& p) { p.min_keep = 2; }), "min-keep");
  EXPECT_EQ(reason([](auto& p) { p.temperature = 1e-7; }), "an extreme temperature");
  EXPECT_EQ(reason([](auto& p) { p.order = {"top_k", "temperature", "top_k"}; }), "a step that is named twice");
  EXPECT_EQ(reason([](auto& p) { p.order = {"top_k", "temperature"}, p.typical_p = 0.9; }), "");
}

TEST(DeviceChoice, SkippedDrawsAreThoseOfTheDevice) {
  Sampler a(neutral(), 6), b(neutral(), 6);
  a.sample(kLogits);
  b.skip_draw();
  for (int i = 0; i < 20; ++i) EXPECT_EQ(a.sample(kLogits), b.sample(kLogits));
}

TEST(Check, RefusesNonsenseByName) {
  const auto refused = [](auto change, const char* name) {
    SamplingParams p = neutral();
    change(p);
    try {
      check(p);
    } catch (const Error& e) {
      return std::string(e.what()).find(name) != std::string::npos;
    }
    return false;
  };
  EXPECT_TRUE(refused([](auto& p) { p.repeat_penalty = 0; }, "repeat_penalty"));
  EXPECT_TRUE(refused([](auto& p) { p.repeat_penalty = NAN; }, "repeat_penalty"));
  EXPECT_TRUE(refused([](auto& p) { p.temperature = INFINITY; }, "temperature"));
  EXPECT_TRUE(refused([](auto& p) { p.mirostat = 3; }, "mirostat"));
  EXPECT_TRUE(refused([](auto& p) { p.order = {"top_kk"}; }, "top_kk"));
  EXPECT_TRUE(refused([](auto& p) { p.xtc_probability = 2; }, "xtc_probability"));
  SamplingParams p = neutral();
  p.logit_bias = {{6, 1.0}};
  EXPECT_THROW(Sampler(p, 6), Error);
}

}  // namespace
}  // namespace stretto
