// Rotary tables against the specification's check values.

#include "models/rope_config.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"

namespace stretto {
namespace {

using Kind = RopeScaling::Kind;

std::vector<double> divisors(double base, uint64_t dim, const RopeScaling& s) {
  const RopeTable plain = make_rope_table(base, dim, {}), scaled = make_rope_table(base, dim, s);
  std::vector<double> out;
  for (size_t i = 0; i < plain.inv_freq.size(); ++i) out.push_back(plain.inv_freq[i] / scaled.inv_freq[i]);
  return out;
}

void expect_llama3(uint64_t dim, double factor, size_t first, const std::vector<double>& between) {
  const auto f = divisors(5e5, dim, {.kind = Kind::kLlama3, .factor = factor, .original_context = 8192});
  for (size_t i = 0; i < f.size(); ++i) {
    const double wanted = i < first ? 1 : i < first + between.size() ? between[i - first] : factor;
    EXPECT_NEAR(f[i], wanted, 1e-6) << i;
  }
}

TEST(RopeConfig, Llama3Divisors) {
  expect_llama3(128, 8, 29, {1.207484, 1.553415, 2.026313, 2.694530, 3.684253, 5.257327});
  expect_llama3(64, 32, 15, {1.651329, 3.292262, 9.666729});
  expect_llama3(128, 32, 29, {1.234937, 1.651329, 2.276660, 3.292262, 5.171596, 9.666729});
}

TEST(RopeConfig, LinearDividesEverything) {
  for (const double f : divisors(1e6, 16, {.kind = Kind::kLinear, .factor = 8})) EXPECT_NEAR(f, 8, 1e-12);
}

TEST(RopeConfig, YarnRampAndScale) {
  const auto f = divisors(1e6, 128, {.kind = Kind::kYarn, .factor = 4, .original_context = 32768});
  for (size_t i = 0; i <= 23; ++i) EXPECT_NEAR(f[i], 1, 1e-12) << i;
  EXPECT_GT(f[24], 1);
  EXPECT_LT(f[39], 4);
  for (size_t i = 40; i < 64; ++i) EXPECT_NEAR(f[i], 4, 1e-12) << i;
  EXPECT_NEAR(yarn_mscale(4, 1), 1.1386294, 1e-7);
  EXPECT_EQ(yarn_mscale(1, 1), 1);
}

TEST(RopeConfig, RefusesNonsense) {
  EXPECT_THROW(make_rope_table(0, 16, {}), Error);
  EXPECT_THROW(make_rope_table(NAN, 16, {}), Error);
  EXPECT_THROW(make_rope_table(1e4, 16, {.kind = Kind::kLinear, .factor = -1}), Error);
  EXPECT_THROW(make_rope_table(1e4, 16, {.kind = Kind::kYarn, .factor = 2, .original_context = 0}), Error);
}

}  // namespace
}  // namespace stretto
