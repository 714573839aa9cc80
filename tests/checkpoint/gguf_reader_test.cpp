// Rules of the GGUF reader that the case files do not reach.
#include "checkpoint/gguf_reader.h"

#include <gtest/gtest.h>

#include <chrono>
#include <string>

#include "checkpoint/fixtures.h"

namespace stretto {
namespace {

using test::error_of;
using test::expect_contains;

// Little-endian bytes of a GGUF file, put together field by field.
class Raw {
 public:
  Raw(uint64_t n_tensors, uint64_t n_keys) { text("GGUF").u32(3).u64(n_tensors).u64(n_keys); }

  Raw& u8(uint8_t v) { return number(v); }
  Raw& u32(uint32_t v) { return number(v); }
  Raw& u64(uint64_t v) { return number(v); }
  Raw& text(std::string_view t) {
    bytes_ += t;
    return *this;
  }
  Raw& string(std::string_view t) { return u64(t.size()).text(t); }
  Raw& key(std::string_view name, MetaType type) { return string(name).u32(static_cast<uint32_t>(type)); }
  Raw& tensor(std::string_view name, const std::vector<uint64_t>& dims, uint32_t type, uint64_t offset) {
    string(name).u32(static_cast<uint32_t>(dims.size()));
    for (const uint64_t dim : dims) u64(dim);
    return u32(type).u64(offset);
  }
  Raw& data(size_t n, size_t alignment = 32) {
    bytes_.resize((bytes_.size() + alignment - 1) / alignment * alignment);
    bytes_.append(n, '\x07');
    return *this;
  }
  const std::string& bytes() const { return bytes_; }

 private:
  template <class T>
  Raw& number(T v) {
    bytes_.append(reinterpret_cast<const char*>(&v), sizeof(v));
    return *this;
  }
  std::string bytes_;
};

GgufContent parse(const Raw& raw) { return parse_gguf(test::as_bytes(raw.bytes()), "x.gguf"); }

std::string refusal(const Raw& raw) {
  return error_of(ErrorKind::kInvalidModel, [&raw] { parse(raw); });
}

TEST(GgufReader, ReversesDimensionsAndKeepsTheirNumber) {
  const std::string bytes = Raw(4, 0)
                                .tensor("scalar", {}, 0, 0)
                                .tensor("vector", {3}, 0, 32)
                                .tensor("experts", {32, 5, 2}, 8, 64)
                                .tensor("ones", {4, 1, 1, 1}, 1, 416)
                                .data(416 + 8)
                                .bytes();
  const GgufContent content = parse_gguf(test::as_bytes(bytes), "x.gguf");
  EXPECT_EQ(content.data_start % 32, 0u);
  ASSERT_EQ(content.tensors.size(), 4u);
  EXPECT_EQ(content.tensors[0].view.shape, Shape());
  EXPECT_EQ(content.tensors[0].view.bytes.size(), 4u);
  EXPECT_EQ(content.tensors[1].view.shape, Shape({3}));
  EXPECT_EQ(content.tensors[2].view.shape, Shape({2, 5, 32}));
  EXPECT_EQ(content.tensors[2].view.type, DType::kQ8_0);
  EXPECT_EQ(content.tensors[2].view.bytes.size(), 340u);
  EXPECT_EQ(content.tensors[2].view.bytes.data(), test::as_bytes(bytes).data() + content.data_start + 64);
  EXPECT_EQ(content.tensors[3].view.shape, Shape({1, 1, 1, 4}));
}

TEST(GgufReader, SizesEveryTypeOfTheTable) {
  for (uint32_t id = 0; id < 64; ++id) {
    const std::optional<DType> type = dtype_from_ggml_id(id);
    const Raw raw = Raw(1, 0).tensor("w", {512}, id, 0).data(512 * 8);
    if (!type) {
      const std::string why = refusal(raw);
      expect_contains(why,
                      id == 9 || id == 15 ? "exists only in memory" : fmt::format("tensor type {} is unknown", id));
      continue;
    }
    EXPECT_EQ(parse(raw).tensors[0].view.bytes.size(), row_bytes(*type, 512)) << name(*type);
  }
}

TEST(GgufReader, RefusesBadNames) {
  expect_contains(refusal(Raw(0, 1).key("a\xff", MetaType::kU8).u8(0)), "key \"a\\xff\" is not valid UTF-8");
  expect_contains(refusal(Raw(0, 1).key(std::string(65536, 'k'), MetaType::kU8).u8(0)),
                  "has 65536 bytes, at most 65535");
  EXPECT_EQ(parse(Raw(0, 1).key(std::string(65535, 'k'), MetaType::kU8).u8(0)).metadata.entries().size(), 1u);
  expect_contains(refusal(Raw(1, 0).tensor("", {1}, 0, 0).data(4)), "tensor name is empty");
  expect_contains(refusal(Raw(1, 0).tensor(std::string_view("a\0", 2), {1}, 0, 0).data(4)), "contains a NUL byte");
  expect_contains(refusal(Raw(1, 0).tensor("\xc0\x80", {1}, 0, 0).data(4)), "is not valid UTF-8");
}

TEST(GgufReader, ValuesMayHoldAnyBytes) {
  const GgufContent content = parse(Raw(0, 1).key("t", MetaType::kString).string(std::string_view("\0\xff", 2)));
  EXPECT_EQ(content.metadata.get_string("t"), std::string("\0\xff", 2));
}

TEST(GgufReader, StringsAndBoolsInArraysAreChecked) {
  const auto array = [](MetaType element, uint64_t count) {
    return Raw(0, 1).key("a", MetaType::kArray).u32(static_cast<uint32_t>(element)).u64(count);
  };
  expect_contains(refusal(array(MetaType::kString, 2).string("x").u64(9).text("abc")), "9 bytes, 3 remain");
  expect_contains(refusal(array(MetaType::kString, 2).string("abc")),
                  "array of 2 elements of at least 8 bytes, 11 bytes");
  expect_contains(refusal(array(MetaType::kBool, 2).u8(1).u8(7)), "a bool byte is 7");
  expect_contains(refusal(array(MetaType::kU64, uint64_t{1} << 61).u64(0)), "at most 1073741824");
  expect_contains(refusal(array(MetaType::kU64, uint64_t{1} << 30).u64(0)), "8 bytes remain");
}

TEST(GgufReader, AlignmentUpTo2To31) {
  const auto aligned = [](uint32_t alignment) {
    return Raw(1, 1).key("general.alignment", MetaType::kU32).u32(alignment).tensor("w", {1}, 0, 0);
  };
  EXPECT_EQ(parse(aligned(1).data(4, 1)).tensors[0].view.bytes.size(), 4u);
  EXPECT_EQ(parse(aligned(4096).data(4, 4096)).data_start, 4096u);
  expect_contains(refusal(aligned(0x80000000u).data(64)), "would start beyond the end of the file");
}

TEST(GgufReader, OffsetsNearTheEndOfTheNumberRangeAreRefused) {
  // 2^63 - 32 bytes in one tensor, then another: no sum may wrap.
  const uint64_t huge = (uint64_t{1} << 63) - 32;
  expect_contains(refusal(Raw(2, 0).tensor("a", {huge}, 24, 0).tensor("b", {1}, 24, huge).data(64)),
                  "needs 9223372036854775776");
  // Elements fit below 2^63, the bytes do not fit in 64 bits.
  expect_contains(refusal(Raw(1, 0).tensor("a", {uint64_t{1} << 62}, 28, 0).data(64)), "does not fit in 64 bits");
}

TEST(GgufReader, CountsDoNotReserveMemory) {
  // 2^30 strings of no bytes are announced by a file that could hold them only if it were that long.
  expect_contains(refusal(Raw(0, 1).key("a", MetaType::kArray).u32(8).u64(uint64_t{1} << 30)), "0 bytes remain");
}

// A vocabulary of 150 k tokens and 300 k merges must open quickly.
TEST(GgufReader, LargeVocabularyIsFast) {
  Raw raw(0, 3);
  raw.key("tokenizer.ggml.tokens", MetaType::kArray).u32(8).u64(150'000);
  for (int i = 0; i < 150'000; ++i) raw.string(fmt::format("token{}", i));
  raw.key("tokenizer.ggml.token_type", MetaType::kArray).u32(5).u64(150'000).text(std::string(600'000, '\x01'));
  raw.key("tokenizer.ggml.merges", MetaType::kArray).u32(8).u64(300'000);
  for (int i = 0; i < 300'000; ++i) raw.string(fmt::format("ab{} c{}", i, i));
  const auto start = std::chrono::steady_clock::now();
  const GgufContent content = parse(raw);
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  EXPECT_EQ(content.metadata.get_strings("tokenizer.ggml.merges")->back(), "ab299999 c299999");
  RecordProperty("milliseconds", static_cast<int>(seconds.count() * 1e3));
  EXPECT_LT(seconds.count(), 2.0);  // tens of milliseconds; sanitizers and busy machines take longer
}

// Hashing, not a scan: 40 k keys and 40 k tensors.
TEST(GgufReader, ManyNamesAreFast) {
  constexpr uint64_t kCount = 40'000;
  Raw raw(kCount, kCount);
  for (uint64_t i = 0; i < kCount; ++i) raw.key(fmt::format("key.{}", i), MetaType::kU8).u8(1);
  for (uint64_t i = 0; i < kCount; ++i) raw.tensor(fmt::format("blk.{}.weight", i), {1}, 24, i * 32);
  raw.data(kCount * 32);
  const auto start = std::chrono::steady_clock::now();
  const GgufContent content = parse(raw);
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  EXPECT_EQ(content.tensors.size(), kCount);
  EXPECT_LT(seconds.count(), 3.0);
}

}  // namespace
}  // namespace stretto
