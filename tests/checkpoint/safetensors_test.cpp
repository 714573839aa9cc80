#include "checkpoint/safetensors.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <string>

#include "base/json.h"
#include "checkpoint/fixtures.h"

namespace stretto {
namespace {

using test::error_of;
using test::expect_contains;

std::string from_hex(const std::string& hex) {
  std::string out;
  for (size_t i = 0; i + 1 < hex.size(); i += 2)
    out.push_back(static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16)));
  return out;
}

// 8-byte length, header, data.
std::string file_of(const std::string& header, const std::string& data) {
  const uint64_t n = header.size();
  return std::string(reinterpret_cast<const char*>(&n), 8) + header + data;
}

SafetensorsContent parse(const std::string& bytes) { return parse_safetensors(test::as_bytes(bytes), "x.safetensors"); }

std::string refusal(const std::string& bytes) {
  return error_of(ErrorKind::kInvalidModel, [&bytes] { parse(bytes); });
}

double element(const TensorView& view, size_t i) {
  const auto byte = [&view, i] { return std::to_integer<unsigned>(view.bytes[i]); };
  switch (view.type) {
    case DType::kF32: {
      float value;
      std::memcpy(&value, view.bytes.data() + 4 * i, 4);
      return value;
    }
    case DType::kU8:
      return byte();
    case DType::kF8_E8M0:
      return std::ldexp(1.0, static_cast<int>(byte()) - 127);
    case DType::kF8_E4M3: {  // normal numbers only
      const double magnitude = std::ldexp(8.0 + (byte() & 7), static_cast<int>((byte() >> 3) & 15) - 7 - 3);
      return byte() & 0x80 ? -magnitude : magnitude;
    }
    default:
      ADD_FAILURE() << "no decoder for " << name(view.type);
      return 0;
  }
}

void expect_tensors(const SafetensorsContent& content, const Json& expected) {
  ASSERT_EQ(content.tensors.size(), expected.size());
  for (const StoredTensor& tensor : content.tensors) {
    ASSERT_TRUE(expected.contains(tensor.name)) << tensor.name;
    const Json& want = expected[tensor.name];
    EXPECT_EQ(name(tensor.view.type), want["dtype"].get<std::string>());
    EXPECT_EQ(tensor.view.shape, Shape(want["shape"].get<std::vector<uint64_t>>()));
    ASSERT_EQ(tensor.view.bytes.size(), row_bytes(tensor.view.type, want["values"].size()));
    for (size_t i = 0; i < want["values"].size(); ++i)
      EXPECT_EQ(element(tensor.view, i), want["values"][i].get<double>());
  }
}

// What the message of each bad file must say.
const std::map<std::string, std::string> kMessages = {
    {"short_file", "the file has 3 bytes, the header length alone needs 8"},
    {"n_beyond_file", "header of 1048576 bytes, 73 bytes of the file remain"},
    {"n_huge", "header of 9223372036854775808 bytes, at most 100000000 are accepted"},
    {"n_over_limit", "header of 100000001 bytes, at most 100000000 are accepted"},
    {"n_zero", "does not start with '{'"},
    {"leading_space", "does not start with '{'"},
    {"bad_json", "header (from byte 8): invalid JSON at byte 56"},
    {"trailing_garbage", "the header does not end with '}' and spaces (byte 65)"},
    {"not_object", "does not start with '{'"},
    {"bad_utf8", "invalid JSON at byte 2"},
    {"duplicate_name", "duplicate key \"a\""},
    {"overlap", "tensor \"b\" begins at data offset 4, wanted 8"},
    {"alias", "tensor \"b\" begins at data offset 0, wanted 8"},
    {"hole", "tensor \"b\" begins at data offset 8, wanted 4"},
    {"first_not_zero", "tensor \"a\" begins at data offset 4, wanted 0"},
    {"trailing_bytes", "the tensors end at data offset 16, the file has 17 data bytes"},
    {"truncated", "the tensors end at data offset 16, the file has 15 data bytes (truncated?)"},
    {"reversed", "tensor \"a\": data_offsets [16, 0] end before they begin"},
    {"size_mismatch", "tensor \"a\": F32 [3] takes 12 bytes, data_offsets [0, 16] give 16"},
    {"shape_overflow", "tensor \"a\": the size of F32 [4294967296,4294967296] overflows 64 bits"},
    {"shape_overflow_bytes", "tensor \"a\": the size of F64 [2305843009213693952] overflows 64 bits"},
    {"negative_dim", "tensor \"a\": a dimension is -1, wanted an integer >= 0"},
    {"float_dim", "tensor \"a\": a dimension is 2.0, wanted an integer >= 0"},
    {"string_offset", "tensor \"a\": data_offsets[0] is \"0\", wanted an integer >= 0"},
    {"three_offsets", "tensor \"a\": data_offsets must be an array of two integers"},
    {"missing_dtype", "tensor \"a\": the field \"dtype\" is missing"},
    {"unknown_dtype", "tensor \"a\": unknown dtype \"F31\""},
    {"metadata_not_string", "__metadata__ value \"n\" is not a string"},
    {"metadata_list", "__metadata__ is not an object"},
    {"odd_fp4", "tensor \"a\": 3 elements of 4 bits do not fill whole bytes"},
    {"deep_json", "nested deeper than 8 levels"},
    {"huge_number", "integer 99999999999999999999999 is outside 64 bits"},
};

TEST(Safetensors, EveryCaseIsDecided) {
  const std::string text = test::read_file(std::string(STRETTO_TEST_DATA) + "/container_cases.json");
  const Json root = parse_json(text, "container_cases.json");
  size_t n_ok = 0;
  size_t n_bad = 0;
  for (const Json& entry : root["cases"]) {
    if (entry["kind"] != "safetensors") continue;
    const auto name = entry["name"].get<std::string>();
    SCOPED_TRACE(name + ": " + entry["why"].get<std::string>());
    const std::string bytes = from_hex(entry["hex"].get<std::string>());
    const test::ExactCopy copy(bytes);
    if (entry["ok"].get<bool>()) {
      ++n_ok;
      expect_tensors(parse_safetensors(copy.bytes(), "x"), entry["expect"]);
      continue;
    }
    ++n_bad;
    ASSERT_TRUE(kMessages.contains(name));
    const std::string message =
        error_of(ErrorKind::kInvalidModel, [&copy] { parse_safetensors(copy.bytes(), "dir/x.safetensors"); });
    expect_contains(message, kMessages.at(name));
    EXPECT_EQ(message.find("dir/x.safetensors: "), 0u);
  }
  EXPECT_EQ(n_ok, 10u);
  EXPECT_EQ(n_bad, kMessages.size());
}

TEST(Safetensors, MetadataIsKept) {
  const SafetensorsContent content = parse(file_of(R"({"__metadata__":{"format":"pt","x":"y"}})", ""));
  ASSERT_EQ(content.metadata.size(), 2u);
  EXPECT_EQ(content.metadata[1], (std::pair<std::string, std::string>{"x", "y"}));
}

TEST(Safetensors, EveryDtypeHasItsSize) {
  const std::map<std::string, int> bits = {
      {"BOOL", 8},        {"U8", 8},          {"I8", 8},      {"F8_E5M2", 8}, {"F8_E4M3", 8}, {"F8_E8M0", 8},
      {"F8_E4M3FNUZ", 8}, {"F8_E5M2FNUZ", 8}, {"I16", 16},    {"U16", 16},    {"F16", 16},    {"BF16", 16},
      {"I32", 32},        {"U32", 32},        {"F32", 32},    {"F64", 64},    {"I64", 64},    {"U64", 64},
      {"C64", 64},        {"F4", 4},          {"F6_E2M3", 6}, {"F6_E3M2", 6}};
  for (const auto& [dtype, n] : bits) {
    const size_t bytes = static_cast<size_t>(24 * n / 8);
    const auto file = [&dtype = dtype](size_t size) {
      return file_of(fmt::format(R"({{"t":{{"dtype":"{}","shape":[2,12],"data_offsets":[0,{}]}}}})", dtype, size),
                     std::string(size, 'x'));
    };
    const std::string good = file(bytes);
    const SafetensorsContent content = parse(good);
    EXPECT_EQ(name(content.tensors[0].view.type), dtype);
    EXPECT_EQ(content.tensors[0].view.bytes.size(), row_bytes(content.tensors[0].view.type, 24));
    refusal(file(bytes + 1));
  }
  // Names of GGUF types are no safetensors dtypes.
  expect_contains(
      refusal(file_of(R"({"t":{"dtype":"Q8_0","shape":[32],"data_offsets":[0,34]}})", std::string(34, 'x'))),
      "unknown dtype \"Q8_0\"");
}

TEST(Safetensors, NamesAreChecked) {
  const auto named = [](const std::string& name) {
    return file_of("{\"" + name + R"(":{"dtype":"U8","shape":[],"data_offsets":[0,1]}})", "x");
  };
  EXPECT_EQ(parse(named(std::string(4096, 'n'))).tensors.size(), 1u);
  expect_contains(refusal(named(std::string(4097, 'n'))), "a name of 4097 bytes, at most 4096");
  expect_contains(refusal(named("a\\u0000b")), "its name contains a control character");
  expect_contains(refusal(named("a\\nb")), "its name contains a control character");
  expect_contains(refusal(named("")), "a tensor name is empty");
}

TEST(Safetensors, FieldsAndNumbersAreStrict) {
  const auto entry = [](const std::string& fields) { return file_of("{\"a\":" + fields + "}", "x"); };
  EXPECT_EQ(parse(entry(R"({"shape":[1],"data_offsets":[0,1],"dtype":"U8"})")).tensors.size(), 1u);
  expect_contains(refusal(entry(R"({"dtype":"U8","shape":[1],"data_offsets":[0,1],"x":1})")), "unknown field \"x\"");
  expect_contains(refusal(entry("7")), "its entry is not an object");
  expect_contains(refusal(entry(R"({"dtype":8,"shape":[1],"data_offsets":[0,1]})")), "dtype is not a string");
  expect_contains(refusal(entry(R"({"dtype":"U8","shape":1,"data_offsets":[0,1]})")), "shape is not an array");
  expect_contains(refusal(entry(R"({"dtype":"U8","shape":[1],"data_offsets":{}})")),
                  "must be an array of two integers");
  expect_contains(refusal(entry(R"({"dtype":"U8","shape":[1e0],"data_offsets":[0,1]})")), "a dimension is 1.0");
  expect_contains(refusal(entry(R"({"dtype":"U8","shape":[1],"data_offsets":[-0,1]})")),
                  "data_offsets[0] is 0, wanted an integer >= 0 without sign");
  expect_contains(refusal(entry(R"({"dtype":"U8","shape":[1],"data_offsets":[0,18446744073709551616]})")),
                  "is outside 64 bits");
  std::string ones = "1";
  for (int i = 0; i < 64; ++i) ones += ",1";
  expect_contains(refusal(entry(R"({"dtype":"U8","shape":[)" + ones + R"(],"data_offsets":[0,1]})")),
                  "65 dimensions, at most 64");
}

TEST(Safetensors, LeadingDimensionsBeyondFourAreMerged) {
  const SafetensorsContent content =
      parse(file_of(R"({"a":{"dtype":"U8","shape":[2,3,1,2,5],"data_offsets":[0,60]}})", std::string(60, 'x')));
  EXPECT_EQ(content.tensors[0].view.shape, Shape({6, 1, 2, 5}));
}

TEST(Safetensors, ZeroDimensionsDoNotHideAnOverflow) {
  refusal(file_of(R"({"a":{"dtype":"U8","shape":[4294967296,4294967296,0],"data_offsets":[0,0]}})", ""));
  EXPECT_EQ(parse(file_of(R"({"a":{"dtype":"U8","shape":[0,4294967296,4294967296],"data_offsets":[0,0]}})", ""))
                .tensors.size(),
            1u);
}

TEST(Safetensors, WhatIsWrittenIsReadBack) {
  const test::TempDir dir;
  const std::vector<float> a = {1, -2, 3.5f, 0, 5, 6};
  const std::vector<int32_t> b = {7, -8};
  const uint8_t c = 9;
  write_safetensors(dir / "t.safetensors",
                    {{"logits", DType::kF32, Shape({2, 3}), std::as_bytes(std::span(a))},
                     {"tokens \"q\" \xc3\xa9", DType::kI32, Shape({2}), std::as_bytes(std::span(b))},
                     {"empty", DType::kBF16, Shape({0, 4}), {}},
                     {"scalar", DType::kU8, Shape(), std::as_bytes(std::span(&c, 1))}},
                    {{"made by", "a test"}});
  const SafetensorsFile file = open_safetensors(dir / "t.safetensors");
  EXPECT_EQ(file.metadata().at(0).second, "a test");
  ASSERT_EQ(file.tensors().size(), 4u);
  const StoredTensor* logits = file.find("logits");
  ASSERT_NE(logits, nullptr);
  EXPECT_EQ(logits->view.shape, Shape({2, 3}));
  EXPECT_EQ(reinterpret_cast<uintptr_t>(logits->view.bytes.data()) % 8, 0u);
  EXPECT_EQ(std::memcmp(logits->view.bytes.data(), a.data(), 24), 0);
  EXPECT_EQ(file.find("tokens \"q\" \xc3\xa9")->view.type, DType::kI32);
  EXPECT_EQ(file.find("scalar")->view.shape.rank(), 0);
  EXPECT_TRUE(file.find("empty")->view.bytes.empty());
  EXPECT_EQ(file.find("absent"), nullptr);
}

TEST(Safetensors, WritingReplacesTheTargetAtOnce) {
  const test::TempDir dir;
  test::write_file(dir / "t", "old");
  write_safetensors(dir / "t", {});
  EXPECT_TRUE(open_safetensors(dir / "t").tensors().empty());
  error_of(ErrorKind::kBadArgument, [&] { write_safetensors(dir / "none/t", {}); });
}

}  // namespace
}  // namespace stretto
