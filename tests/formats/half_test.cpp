#include <gtest/gtest.h>

#include <bit>
#include <cmath>

#include "base/half.h"

namespace stretto {
namespace {

uint32_t bits(float x) { return std::bit_cast<uint32_t>(x); }

// The value of a binary16 by its definition, for anything but NaN.
double half_value(uint32_t h) {
  const double sign = h & 0x8000 ? -1 : 1;
  const int exponent = static_cast<int>(h >> 10 & 31);
  const int mantissa = static_cast<int>(h & 1023);
  if (exponent == 31) return sign * INFINITY;
  return exponent == 0 ? sign * std::ldexp(mantissa, -24) : sign * std::ldexp(1024 + mantissa, exponent - 25);
}

TEST(Half, AllBinary16ValuesConvertExactlyAndBack) {
  for (uint32_t h = 0; h < 65536; ++h) {
    const float f = f16_to_f32(static_cast<uint16_t>(h));
    if ((h & 0x7fff) > 0x7c00) {
      ASSERT_TRUE(std::isnan(f)) << h;
      ASSERT_EQ(std::signbit(f), (h & 0x8000) != 0) << h;
      ASSERT_EQ(f32_to_f16(f), (h & 0x8000) | 0x7e00) << h;
      continue;
    }
    ASSERT_EQ(static_cast<double>(f), half_value(h)) << h;
    ASSERT_EQ(std::signbit(f), (h & 0x8000) != 0) << h;
    ASSERT_EQ(f32_to_f16(f), h);
  }
}

TEST(Half, RoundsToNearestEvenAtEveryMidpoint) {
  for (uint32_t h = 0; h < 0x7bff; ++h) {
    const float middle = static_cast<float>((half_value(h) + half_value(h + 1)) / 2);  // exact in binary32
    const uint32_t even = h + (h & 1);
    ASSERT_EQ(f32_to_f16(middle), even) << h;
    ASSERT_EQ(f32_to_f16(-middle), even | 0x8000) << h;
    ASSERT_EQ(f32_to_f16(std::nextafter(middle, 0.0f)), h) << h;
    ASSERT_EQ(f32_to_f16(std::nextafter(middle, INFINITY)), h + 1) << h;
  }
}

TEST(Half, OverflowIsInfinity) {
  EXPECT_EQ(f32_to_f16(65519.996f), 0x7bff);
  EXPECT_EQ(f32_to_f16(65520.0f), 0x7c00);
  EXPECT_EQ(f32_to_f16(-1e30f), 0xfc00);
  EXPECT_EQ(f32_to_f16(INFINITY), 0x7c00);
  EXPECT_EQ(f32_to_f16(1e-30f), 0);
  EXPECT_EQ(f32_to_f16(-1e-30f), 0x8000);
}

TEST(Half, AllBfloat16ValuesConvertExactlyAndBack) {
  for (uint32_t h = 0; h < 65536; ++h) {
    const float f = bf16_to_f32(static_cast<uint16_t>(h));
    ASSERT_EQ(bits(f), h << 16);
    const bool is_nan = (h & 0x7fff) > 0x7f80;
    ASSERT_EQ(f32_to_bf16(f), is_nan ? h | 0x40 : h);
  }
}

TEST(Half, Bfloat16RoundsToNearestEven) {
  for (uint32_t h = 0; h < 0x7f7f; ++h) {
    const uint32_t middle = h << 16 | 0x8000;
    ASSERT_EQ(f32_to_bf16(std::bit_cast<float>(middle)), h + (h & 1)) << h;
    ASSERT_EQ(f32_to_bf16(std::bit_cast<float>(middle - 1)), h) << h;
    ASSERT_EQ(f32_to_bf16(std::bit_cast<float>(middle + 1)), h + 1) << h;
  }
  EXPECT_EQ(f32_to_bf16(3.4e38f), 0x7f80);                            // above the largest: infinity
  EXPECT_EQ(f32_to_bf16(std::bit_cast<float>(0x7f800001u)), 0x7fc0);  // a NaN whose upper half looks infinite
}

}  // namespace
}  // namespace stretto
