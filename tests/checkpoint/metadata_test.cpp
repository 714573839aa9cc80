#include "checkpoint/metadata.h"

#include <gtest/gtest.h>

#include "checkpoint/fixtures.h"

namespace stretto {
namespace {

using test::error_of;
using test::expect_contains;

MetaValue u64(uint64_t v) { return {MetaType::kU64, MetaType::kNull, v}; }
MetaValue i64(int64_t v) { return {MetaType::kI64, MetaType::kNull, v}; }
MetaValue f64(double v) { return {MetaType::kF64, MetaType::kNull, v}; }

template <class Get>
std::string refusal(Get get) {
  return error_of(ErrorKind::kInvalidModel, get);
}

TEST(Metadata, KeepsOrderAndRefusesDuplicates) {
  Metadata m;
  EXPECT_TRUE(m.add("b", MetaValue::u32(1)));
  EXPECT_TRUE(m.add("a", MetaValue::u32(2)));
  EXPECT_FALSE(m.add("b", MetaValue::u32(3)));
  ASSERT_EQ(m.entries().size(), 2u);
  EXPECT_EQ(m.entries()[0].key, "b");
  EXPECT_EQ(m.get_uint("b"), 1u);
}

TEST(Metadata, AbsentAndNull) {
  Metadata m;
  m.add("null", MetaValue{});
  for (const char* key : {"null", "absent"}) {
    EXPECT_FALSE(m.has(key));
    EXPECT_EQ(m.get_uint(key), std::nullopt);
    EXPECT_EQ(m.get_int(key), std::nullopt);
    EXPECT_EQ(m.get_float(key), std::nullopt);
    EXPECT_EQ(m.get_bool(key), std::nullopt);
    EXPECT_EQ(m.get_string(key), std::nullopt);
    EXPECT_EQ(m.get_uints(key), std::nullopt);
    EXPECT_EQ(m.get_ints(key), std::nullopt);
    EXPECT_EQ(m.get_floats(key), std::nullopt);
    EXPECT_EQ(m.get_bools(key), std::nullopt);
    EXPECT_EQ(m.get_strings(key), nullptr);
  }
  EXPECT_NE(m.find("null"), nullptr);
  EXPECT_EQ(m.find("absent"), nullptr);
}

TEST(Metadata, IntegersOfAnyWidthThatFit) {
  Metadata m;
  m.add("u8", {MetaType::kU8, MetaType::kNull, uint64_t{200}});
  m.add("i64", i64(5));
  m.add("negative", i64(-1));
  m.add("large", u64(uint64_t{1} << 32));
  m.add("largest", u64(UINT64_MAX));
  EXPECT_EQ(m.get_uint("u8"), 200u);
  EXPECT_EQ(m.get_int("u8"), 200);
  EXPECT_EQ(m.get_uint("i64"), 5u);
  EXPECT_EQ(m.get_int("negative"), -1);
  EXPECT_EQ(m.get_uint("large", UINT64_MAX), uint64_t{1} << 32);
  expect_contains(refusal([&] { m.get_uint("negative"); }),
                  "metadata key \"negative\": wanted an integer in 0..4294967295, the file has -1");
  expect_contains(refusal([&] { m.get_uint("large"); }), "the file has 4294967296");
  expect_contains(refusal([&] { m.get_uint("u8", 100); }), "wanted an integer in 0..100, the file has 200");
  expect_contains(refusal([&] { m.get_int("largest"); }), "wanted a 64-bit integer, the file has 18446744073709551615");
}

TEST(Metadata, OtherTypesAreRefusedByName) {
  Metadata m;
  m.add("s", MetaValue::string("x\n"));
  m.add("b", MetaValue::boolean(true));
  m.add("f", MetaValue::f32(1.5f));
  m.add("u", MetaValue::u32(1));
  m.add("a", MetaValue::strings({"p", "q"}));
  expect_contains(refusal([&] { m.get_uint("s"); }), "the file has \"x\\x0a\"");
  refusal([&] { m.get_uint("b"); });
  refusal([&] { m.get_uint("f"); });
  refusal([&] { m.get_uint("a"); });
  refusal([&] { m.get_float("s"); });
  expect_contains(refusal([&] { m.get_float("u"); }), "wanted a float, the file has 1");
  refusal([&] { m.get_float("b"); });
  refusal([&] { m.get_bool("u"); });
  refusal([&] { m.get_string("u"); });
  expect_contains(refusal([&] { m.get_string("a"); }), "wanted a string, the file has [2 strings]");
  refusal([&] { m.get_strings("u"); });
  refusal([&] { m.get_uints("a"); });
  refusal([&] { m.get_floats("u"); });
  refusal([&] { m.get_bools("s"); });
}

TEST(Metadata, JsonIntegersServeAsFloats) {
  Metadata m(/*from_json=*/true);
  m.add("n", u64(10000));
  m.add("minus", i64(-2));
  m.add("list", {MetaType::kArray, MetaType::kU64, std::vector<uint64_t>{1, 2}});
  EXPECT_EQ(m.get_float("n"), 10000.0);
  EXPECT_EQ(m.get_float("minus"), -2.0);
  EXPECT_EQ(m.get_floats("list"), (std::vector<double>{1, 2}));
}

TEST(Metadata, Arrays) {
  Metadata m;
  m.add("i", MetaValue::i32s({3, 0, 7}));
  m.add("minus", MetaValue::i32s({3, -1}));
  m.add("f", {MetaType::kArray, MetaType::kF32, std::vector<double>{0.5, 1.0}});
  m.add("b", {MetaType::kArray, MetaType::kBool, std::vector<bool>{true, false}});
  m.add("s", MetaValue::strings({"x", "y"}));
  m.add("one", MetaValue::u32(9));
  m.add("one_s", MetaValue::string("z"));
  m.add("empty", {MetaType::kArray, MetaType::kNull, std::vector<uint64_t>{}});
  EXPECT_EQ(m.get_uints("i"), (std::vector<uint64_t>{3, 0, 7}));
  EXPECT_EQ(m.get_ints("minus"), (std::vector<int64_t>{3, -1}));
  expect_contains(refusal([&] { m.get_uints("minus"); }),
                  "wanted integers in 0..4294967295, the file has [2 integers]");
  expect_contains(refusal([&] { m.get_uints("i", 6); }), "wanted integers in 0..6");
  EXPECT_EQ(m.get_floats("f"), (std::vector<double>{0.5, 1.0}));
  EXPECT_EQ(m.get_bools("b"), (std::vector<bool>{true, false}));
  EXPECT_EQ(m.get_strings("s")->at(1), "y");
  EXPECT_EQ(m.get_uints("one"), (std::vector<uint64_t>{9}));
  EXPECT_EQ(*m.get_strings("one_s"), (std::vector<std::string>{"z"}));
  EXPECT_TRUE(m.get_uints("empty")->empty());
  EXPECT_TRUE(m.get_bools("empty")->empty());
  EXPECT_TRUE(m.get_strings("empty")->empty());
}

TEST(Metadata, Describe) {
  EXPECT_EQ(describe(MetaValue::u32(4096)), "4096");
  EXPECT_EQ(describe(MetaValue::string("qwen3")), "\"qwen3\"");
  EXPECT_EQ(describe(MetaValue::boolean(false)), "false");
  EXPECT_EQ(describe(f64(0.5)), "0.5");
  EXPECT_EQ(describe(i64(-3)), "-3");
  EXPECT_EQ(describe(MetaValue{}), "null");
  EXPECT_EQ(describe(MetaValue::strings(std::vector<std::string>(151936))), "[151936 strings]");
  EXPECT_EQ(describe(MetaValue::i32s({1})), "[1 integer]");
}

}  // namespace
}  // namespace stretto
