#include <gtest/gtest.h>

#include <array>
#include <bit>
#include <cmath>
#include <set>

#include "base/error.h"
#include "formats/formats.h"
#include "formats/quant_vectors.h"

namespace stretto {
namespace {

using test::quant_vectors;
using test::QuantVector;

// The activation-only types never occur in a file; NVFP4 needs a tensor-wide scale and is not in Formats.
bool is_listed_type(const std::string& name) { return name != "Q8_1" && name != "Q8_K" && name != "NVFP4"; }

TEST(Formats, GeometryMatchesTheTypeTableAndTheVectors) {
  int seen = 0;
  for (const auto& [type_name, geometry] : quant_vectors().geometry) {
    if (!is_listed_type(type_name)) continue;
    ++seen;
    const auto type = dtype_from_name(type_name);
    ASSERT_TRUE(type.has_value()) << type_name;
    ASSERT_TRUE(has_format(*type)) << type_name;
    const auto [elements, bytes] = visit_format(*type, [](auto f) {
      static_assert(sizeof(typename decltype(f)::Block) == decltype(f)::kBlockBytes);
      return std::pair(decltype(f)::kBlockElements, decltype(f)::kBlockBytes);
    });
    EXPECT_EQ(elements, geometry.first) << type_name;
    EXPECT_EQ(bytes, geometry.second) << type_name;
    EXPECT_EQ(elements, info(*type).block_elements) << type_name;
    EXPECT_EQ(bytes, info(*type).block_bytes) << type_name;
  }
  EXPECT_EQ(seen, static_cast<int>(std::tuple_size_v<Formats>));
}

TEST(Formats, DecodesEveryVectorBitForBit) {
  std::set<std::string> types;
  for (const QuantVector& v : quant_vectors().vectors) {
    if (!is_listed_type(v.type)) continue;
    types.insert(v.type);
    const DType type = dtype_from_name(v.type).value();
    ASSERT_EQ(v.bytes.size(), row_bytes(type, v.values.size()));
    // One byte off, so that no alignment can be assumed.
    std::vector<std::byte> shifted(v.bytes.size() + 1);
    std::copy(v.bytes.begin(), v.bytes.end(), shifted.begin() + 1);
    std::vector<float> out(v.values.size());
    decode_row(type, shifted.data() + 1, out.size(), out.data());
    for (size_t i = 0; i < out.size(); ++i)
      ASSERT_EQ(std::bit_cast<uint32_t>(out[i]), std::bit_cast<uint32_t>(v.values[i]))
          << v.type << ' ' << v.input << '[' << i << "]: " << out[i] << " for " << v.values[i];
  }
  EXPECT_EQ(types.size(), std::tuple_size_v<Formats>);
}

TEST(Formats, EncodersReproduceTheVectors) {
  std::set<std::string> with_encoder;
  int compared = 0;
  for (const QuantVector& v : quant_vectors().vectors) {
    if (v.importance || !is_listed_type(v.type)) continue;
    const DType type = dtype_from_name(v.type).value();
    const std::vector<float>& x = quant_vectors().inputs.at(v.input);
    std::vector<std::byte> out(row_bytes(type, x.size()));
    if (!visit_format(type, [](auto f) { return has_encoder<decltype(f)>; })) {
      EXPECT_THROW(encode_row(type, x.data(), x.size(), out.data()), Error) << v.type;
      continue;
    }
    encode_row(type, x.data(), x.size(), out.data());
    EXPECT_EQ(out, v.bytes) << v.type << ' ' << v.input;
    with_encoder.insert(v.type);
    ++compared;
  }
  EXPECT_EQ(with_encoder, (std::set<std::string>{"F32", "F16", "BF16", "Q8_0", "Q5_0", "Q4_0"}));
  EXPECT_EQ(compared, 6 * 5);
}

TEST(Formats, PlainIntegerAndDoubleRows) {
  const std::array<int16_t, 3> i16 = {-32768, -1, 32767};
  const std::array<int64_t, 2> i64 = {-(int64_t{1} << 40), 7};
  const std::array<double, 2> f64 = {0.1, -3.5};
  std::array<float, 3> out{};
  decode_row(DType::kI16, reinterpret_cast<const std::byte*>(i16.data()), 3, out.data());
  EXPECT_EQ(out, (std::array<float, 3>{-32768, -1, 32767}));
  decode_row(DType::kI64, reinterpret_cast<const std::byte*>(i64.data()), 2, out.data());
  EXPECT_EQ(out[0], -0x1p40f);
  EXPECT_EQ(out[1], 7.0f);
  decode_row(DType::kF64, reinterpret_cast<const std::byte*>(f64.data()), 2, out.data());
  EXPECT_EQ(out[0], 0.1f);
  EXPECT_EQ(out[1], -3.5f);
}

TEST(Formats, TypesKnownByNameOnlyAreRefusedByName) {
  std::array<std::byte, 512> bytes{};
  std::array<float, 256> out{};
  for (DType type : {DType::kIQ2_XXS, DType::kIQ3_S, DType::kTQ1_0, DType::kQ1_0, DType::kC64}) {
    EXPECT_FALSE(has_format(type));
    try {
      decode_row(type, bytes.data(), 256, out.data());
      FAIL() << name(type) << " was decoded";
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::kUnsupported);
      const std::string wanted = "unsupported tensor type " + std::string(name(type));
      EXPECT_NE(std::string(e.what()).find(wanted), std::string::npos) << e.what();
    }
  }
}

TEST(Formats, Mxfp4ScalesCoverTheWholeExponentRange) {
  for (int e8 = 0; e8 < 255; ++e8) {
    MXFP4::Block block{};
    block.e8 = static_cast<uint8_t>(e8);
    for (auto& q : block.qs) q = 0xf2;  // low nibble +1.0, high nibble -6.0
    float y[32];
    MXFP4::decode(block, y);
    EXPECT_EQ(static_cast<double>(y[0]), std::ldexp(1.0, e8 - 127)) << e8;
    if (e8 < 253) {
      EXPECT_EQ(static_cast<double>(y[31]), -6 * std::ldexp(1.0, e8 - 127)) << e8;
    }
  }
}

TEST(Formats, NonFiniteScalesReachTheValues) {
  Q8_0::Block block{};
  block.qs[0] = 3;
  float y[32];
  store_u16(block.d, 0x7c00);
  Q8_0::decode(block, y);
  EXPECT_TRUE(std::isinf(y[0]));
  EXPECT_TRUE(std::isnan(y[1]));  // 0 * infinity
  store_u16(block.d, 0x7e00);
  Q8_0::decode(block, y);
  EXPECT_TRUE(std::isnan(y[0]));
}

TEST(Formats, EncodersSurviveNonFiniteInput) {
  const float inf = INFINITY, nan = NAN;
  std::array<float, 32> x{};
  x[0] = nan;
  x[1] = inf;
  x[2] = -inf;
  x[3] = 1;
  std::array<std::byte, 34> out{};
  for (DType type : {DType::kQ8_0, DType::kQ5_0, DType::kQ4_0}) {
    encode_row(type, x.data(), 32, out.data());
    EXPECT_TRUE(std::isinf(load_f16(reinterpret_cast<const uint8_t*>(out.data())))) << name(type);
  }
}

}  // namespace
}  // namespace stretto
