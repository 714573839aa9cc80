// F8_E4M3 against its definition: every code, every midpoint between neighbours.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "formats/cache_formats.h"

namespace stretto::test {
namespace {

float decoded(uint8_t bits) {
  float y;
  F8_E4M3::decode({bits}, &y);
  return y;
}
uint8_t encoded(float x) {
  F8_E4M3::Block b{};
  F8_E4M3::encode(&x, b);
  return b.bits;
}

// Written out from the definition: (-1)^s 2^(e - 7) (1 + m / 8), or 2^-6 m / 8 for e = 0.
float defined(uint8_t bits) {
  const int e = bits >> 3 & 15, m = bits & 7;
  const double magnitude = e == 0 ? std::ldexp(m, -9) : std::ldexp(8 + m, e - 10);
  return static_cast<float>(bits >> 7 != 0 ? -magnitude : magnitude);
}

TEST(F8, EveryCodeIsWhatItIsDefinedAsAndComesBack) {
  for (int i = 0; i < 256; ++i) {
    const auto bits = static_cast<uint8_t>(i);
    if ((bits & 0x7f) == 0x7f) {
      EXPECT_TRUE(std::isnan(decoded(bits)));
      continue;
    }
    EXPECT_EQ(decoded(bits), defined(bits)) << i;
    EXPECT_EQ(std::signbit(decoded(bits)), bits >> 7 != 0) << i;
    EXPECT_EQ(encoded(decoded(bits)), bits) << i;
  }
}

TEST(F8, RoundsToNearestEven) {
  for (int i = 0; i < 0x7e; ++i) {
    const auto low = static_cast<uint8_t>(i), high = static_cast<uint8_t>(i + 1);
    const float middle = (decoded(low) + decoded(high)) / 2;  // exact
    const float below = std::nextafter(middle, 0.0F), above = std::nextafter(middle, 1000.0F);
    for (const int sign : {0, 0x80}) {
      const float s = sign != 0 ? -1.0F : 1.0F;
      EXPECT_EQ(encoded(s * middle), (i % 2 == 0 ? low : high) | sign) << i;
      EXPECT_EQ(encoded(s * below), low | sign) << i;
      EXPECT_EQ(encoded(s * above), high | sign) << i;
    }
  }
}

TEST(F8, Saturates) {
  for (const float x : {448.0F, 460.0F, 464.0F, 1e9F, std::numeric_limits<float>::infinity()}) {
    EXPECT_EQ(encoded(x), 0x7e);
    EXPECT_EQ(encoded(-x), 0xfe);
  }
  EXPECT_EQ(encoded(std::numeric_limits<float>::quiet_NaN()), 0x7f);
}

TEST(CacheFormats, RoundingIsDecodingWhatWasEncoded) {
  float x[64];
  for (int i = 0; i < 64; ++i) x[i] = std::sin(static_cast<float>(i)) * (i < 32 ? 1.0F : 50.0F);
  float q8[64], f8[64];
  std::copy(x, x + 64, q8);
  std::copy(x, x + 64, f8);
  round_to_cache(DType::kQ8_0, q8, 64);
  round_to_cache(DType::kF8_E4M3, f8, 64);
  for (int i = 0; i < 64; ++i) {
    EXPECT_NEAR(q8[i], x[i], (i < 32 ? 1.0 : 50.0) / 127 * 0.51) << i;
    EXPECT_NEAR(f8[i], x[i], std::abs(x[i]) / 16 + 0x1p-10) << i;
  }
}

}  // namespace
}  // namespace stretto::test
