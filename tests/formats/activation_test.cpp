#include "formats/activation.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <set>

#include "formats/formats.h"
#include "formats/quant_vectors.h"

namespace stretto {
namespace {

using test::DotVector;
using test::quant_vectors;
using test::QuantVector;

struct Quantized {
  explicit Quantized(const std::vector<float>& x) : memory(activation_row_bytes(x.size()) + 64) {
    const auto address = reinterpret_cast<uintptr_t>(memory.data());
    row = activation_row(memory.data() + (64 - address % 64) % 64, x.size());
    quantize_activation(x.data(), row);
  }
  std::vector<std::byte> memory;
  ActivationRow row;
};

TEST(Activation, QuantizesWithinHalfAStepAndSumsExactly) {
  std::mt19937 rng(7);
  std::normal_distribution<float> normal;
  std::vector<float> x(32 * 50);
  for (float& v : x) v = normal(rng);
  std::fill(x.begin(), x.begin() + 32, 0.0f);
  const Quantized a(x);
  EXPECT_EQ(a.row.scale[0], 0.0f);
  for (uint64_t b = 0; b < x.size() / 32; ++b) {
    float largest = 0;
    int sums[2] = {0, 0};
    for (uint64_t i = 32 * b; i < 32 * b + 32; ++i) {
      largest = std::max(largest, std::fabs(x[i]));
      sums[i / 16 % 2] += a.row.q[i];
      ASSERT_LE(std::fabs(x[i] - a.row.scale[b] * a.row.q[i]), a.row.scale[b] * 0.50001f);
    }
    ASSERT_EQ(a.row.scale[b], largest / 127);
    ASSERT_EQ(a.row.sum[b], a.row.scale[b] * static_cast<float>(sums[0] + sums[1]));
    ASSERT_EQ(a.row.half_sum[2 * b], a.row.scale[b] * static_cast<float>(sums[0]));
    ASSERT_EQ(a.row.half_sum[2 * b + 1], a.row.scale[b] * static_cast<float>(sums[1]));
  }
}

TEST(Activation, ExtremesAreReachedAndHalvesRoundToEven) {
  std::vector<float> x(32, 0.0f);
  x[0] = -127;
  x[1] = 2.5f;
  x[2] = -3.5f;
  x[3] = 127;
  const Quantized a(x);
  EXPECT_EQ(a.row.scale[0], 1.0f);
  EXPECT_EQ(a.row.q[0], -127);
  EXPECT_EQ(a.row.q[1], 2);
  EXPECT_EQ(a.row.q[2], -4);
  EXPECT_EQ(a.row.q[3], 127);
}

TEST(Activation, ArraysDoNotOverlapAndAreAligned) {
  for (uint64_t n : {32u, 64u, 96u, 2048u, 2080u}) {
    const Quantized a(std::vector<float>(n, 1.0f));
    const auto at = [](const void* p) { return reinterpret_cast<uintptr_t>(p); };
    EXPECT_LE(at(a.row.q) + n, at(a.row.scale));
    EXPECT_LE(at(a.row.scale + n / 32), at(a.row.sum));
    EXPECT_LE(at(a.row.sum + n / 32), at(a.row.half_sum));
    EXPECT_LE(at(a.row.half_sum + n / 16), at(a.row.q) + activation_row_bytes(n));
    for (const void* p : {static_cast<void*>(a.row.q), static_cast<void*>(a.row.scale), static_cast<void*>(a.row.sum),
                          static_cast<void*>(a.row.half_sum)})
      EXPECT_EQ(at(p) % 64, 0u) << n;
  }
}

TEST(Activation, NonFiniteValuesReachTheDotProduct) {
  Q8_0::Block block{};
  store_u16(block.d, f32_to_f16(1.0f));
  block.qs[5] = 1;
  for (const float bad : {NAN, INFINITY, -INFINITY}) {
    std::vector<float> x(32, 1.0f);
    x[9] = bad;
    const Quantized a(x);
    EXPECT_FALSE(std::isfinite(a.row.scale[0])) << bad;
    EXPECT_FALSE(std::isfinite(dot_q8(DType::kQ8_0, reinterpret_cast<const std::byte*>(&block), a.row))) << bad;
  }
}

TEST(Activation, DotsEqualTheDotOfTheDequantisedOperands) {
  const Quantized a(quant_vectors().activation);
  std::set<std::string> types;
  for (const QuantVector& v : quant_vectors().vectors) {
    const auto type = dtype_from_name(v.type);
    if (!type || !has_integer_dot(*type)) continue;
    types.insert(v.type);
    double expected = 0, magnitude = 0;
    for (size_t i = 0; i < v.values.size(); ++i) {
      const double product = static_cast<double>(v.values[i]) * (static_cast<double>(a.row.scale[i / 32]) * a.row.q[i]);
      expected += product;
      magnitude += std::fabs(product);
    }
    EXPECT_NEAR(dot_q8(*type, v.bytes.data(), a.row), expected, 1e-6 * magnitude) << v.type << ' ' << v.input;
  }
  EXPECT_EQ(types.size(), 13u);
}

TEST(Activation, DotsAreCloseToTheDotOfTheUnquantisedActivation) {
  const std::vector<float>& y = quant_vectors().activation;
  const Quantized a(y);
  int compared = 0;
  for (const DotVector& dot : quant_vectors().dots) {
    const auto type = dtype_from_name(dot.weight_type);
    if (!type || !has_integer_dot(*type)) continue;
    const auto& all = quant_vectors().vectors;
    const auto v = std::find_if(all.begin(), all.end(), [&](const QuantVector& c) {
      return c.type == dot.weight_type && c.input == dot.weight_input && !c.importance;
    });
    ASSERT_NE(v, all.end());
    // Rounding of each activation by at most half a step of its block bounds the error.
    double expected = 0, bound = 0;
    for (size_t i = 0; i < y.size(); ++i) {
      expected += static_cast<double>(v->values[i]) * y[i];
      bound += std::fabs(v->values[i]) * 0.51 * a.row.scale[i / 32];
    }
    EXPECT_NEAR(dot_q8(*type, v->bytes.data(), a.row), expected, bound) << dot.weight_type << ' ' << dot.weight_input;
    ++compared;
  }
  EXPECT_GE(compared, 13);
}

TEST(Activation, PlainFormatsHaveNoIntegerDot) {
  for (DType type : {DType::kF32, DType::kF16, DType::kBF16, DType::kI8, DType::kIQ2_S})
    EXPECT_FALSE(has_integer_dot(type)) << name(type);
  EXPECT_TRUE(has_integer_dot(DType::kMXFP4));
}

}  // namespace
}  // namespace stretto
