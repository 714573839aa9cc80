#include "base/probability_weight.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace stretto {
namespace {

TEST(ProbabilityWeight, IsTheExponentialInWholeParts) {
  EXPECT_EQ(probability_weight(0), kTopWeight);
  EXPECT_EQ(probability_weight(std::numeric_limits<double>::quiet_NaN()), kTopWeight);
  EXPECT_EQ(probability_weight(-std::numeric_limits<double>::infinity()), 0U);
  uint64_t previous = kTopWeight;
  for (double x = -1e-5; x > -33; x -= 0.00173) {
    const auto got = static_cast<double>(probability_weight(x));
    EXPECT_NEAR(got, std::exp(x) * 0x1p44, 1 + std::exp(x) * 0x1p-6) << x;
    EXPECT_LE(got, static_cast<double>(previous)) << x;
    previous = static_cast<uint64_t>(got);
  }
  EXPECT_EQ(previous, 0U);
}

TEST(ProbabilityWeight, BoundsLieBetweenOneAndTheTotal) {
  EXPECT_EQ(weight_for_share(0, 100), 1U);
  EXPECT_EQ(weight_for_share(0.5, 100), 50U);
  EXPECT_EQ(weight_for_share(0.501, 100), 51U);
  EXPECT_EQ(weight_for_share(1, 100), 100U);
  EXPECT_EQ(weight_for_draw(0, 100), 1U);
  EXPECT_EQ(weight_for_draw(0.5, 100), 51U);
  EXPECT_EQ(weight_for_draw(1 - 0x1p-53, 100), 100U);
  EXPECT_EQ(weight_for_draw(1 - 0x1p-53, uint64_t{1} << 62), (uint64_t{1} << 62) - 511);
}

}  // namespace
}  // namespace stretto
