// Damaged containers: cut at every byte of the header, and with bits flipped. A damaged file is refused with an Error
// or read as something consistent; it never reads outside of its bytes (run under AddressSanitizer).
#include <gtest/gtest.h>

#include <functional>
#include <random>
#include <string>

#include "checkpoint/fixtures.h"
#include "checkpoint/gguf_reader.h"
#include "checkpoint/huggingface.h"
#include "checkpoint/safetensors.h"

namespace stretto {
namespace {

constexpr int kFlips = 10'000;

using Parse = std::function<std::vector<StoredTensor>(std::span<const std::byte>)>;

const Parse kParseGguf = [](std::span<const std::byte> bytes) { return parse_gguf(bytes, "x").tensors; };
const Parse kParseSafetensors = [](std::span<const std::byte> bytes) { return parse_safetensors(bytes, "x").tensors; };

std::string gguf_case(const std::string& name) {
  return test::read_file(std::string(STRETTO_TEST_DATA) + "/gguf_cases/" + name + ".gguf");
}

std::string small_safetensors() {
  const test::TempDir dir;
  const std::string data(64, 'd');
  write_safetensors(dir / "s",
                    {{"model.embed.weight", DType::kBF16, Shape({4, 2}), test::as_bytes(data).first(16)},
                     {"lm_head", DType::kF32, Shape({3}), test::as_bytes(data).first(12)},
                     {"scalar", DType::kI64, Shape(), test::as_bytes(data).first(8)}},
                    {{"format", "pt"}});
  return test::read_file(dir / "s");
}

// True: accepted, with every view inside `bytes`. False: refused as an invalid model.
bool accepts(const Parse& parse, std::span<const std::byte> bytes) {
  try {
    for (const StoredTensor& tensor : parse(bytes)) {
      const TensorView& view = tensor.view;
      if (view.bytes.empty()) continue;
      EXPECT_GE(view.bytes.data(), bytes.data());
      EXPECT_LE(view.bytes.data() + view.bytes.size(), bytes.data() + bytes.size());
      EXPECT_EQ(view.bytes.size(),
                info(view.type).block_bytes * (view.shape.elements() / info(view.type).block_elements));
    }
    return true;
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::kInvalidModel) << e.what();
    EXPECT_GT(std::string_view(e.what()).size(), 10u);
    return false;
  }
}

void cut_everywhere(const std::string& file, size_t complete_bytes, const Parse& parse) {
  for (size_t n = 0; n < complete_bytes; ++n) {
    EXPECT_FALSE(accepts(parse, test::ExactCopy(file.substr(0, n)).bytes())) << "cut to " << n << " bytes";
  }
  EXPECT_TRUE(accepts(parse, test::ExactCopy(file).bytes()));
}

TEST(Hostile, GgufCutAtEveryByte) {
  cut_everywhere(gguf_case("ok_all_types"), 506, kParseGguf);
  cut_everywhere(gguf_case("ok_two_tensors"), 196,
                 kParseGguf);  // 28 bytes of padding after the last tensor may be missing
  cut_everywhere(gguf_case("ok_q4_0"), 200, kParseGguf);
}

TEST(Hostile, SafetensorsCutAtEveryByte) {
  const std::string file = small_safetensors();
  cut_everywhere(file, file.size(), kParseSafetensors);
}

TEST(Hostile, ConfigCutAtEveryByte) {
  const std::string text =
      R"({"a":{"b":[1,-2.5e3,"x\u00e9\"",null,true]},"c":[{"d":1},{}],"e":{"__float__":"NaN"},"f":Infinity})";
  for (size_t n = 0; n < text.size(); ++n) {
    EXPECT_THROW(flatten_config(text.substr(0, n), "c"), Error) << n;
  }
  EXPECT_NO_THROW(flatten_config(text, "c"));
}

// Flips 1..4 bits of the first `header_bytes`; returns how many of the damaged files were refused.
int flip(const std::string& file, size_t header_bytes, const Parse& parse, uint32_t seed) {
  std::mt19937 random(seed);
  int refused = 0;
  for (int i = 0; i < kFlips; ++i) {
    std::string damaged = file;
    const unsigned n = 1 + random() % 4;
    for (unsigned k = 0; k < n; ++k) {
      const size_t bit = random() % (header_bytes * 8);
      damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ (1 << bit % 8));
    }
    refused += accepts(parse, test::ExactCopy(damaged).bytes()) ? 0 : 1;
  }
  return refused;
}

TEST(Hostile, GgufBitFlips) {
  // Flips inside values, names and data are often harmless; those in counts, lengths and types are not.
  EXPECT_GT(flip(gguf_case("ok_all_types"), 506, kParseGguf, 1), kFlips / 2);
  EXPECT_GT(flip(gguf_case("ok_two_tensors"), 160, kParseGguf, 2), kFlips / 2);
  EXPECT_GT(flip(gguf_case("ok_align_64"), 192, kParseGguf, 3), kFlips / 2);
}

TEST(Hostile, SafetensorsBitFlips) {
  const std::string file = small_safetensors();
  EXPECT_GT(flip(file, file.size() - 36, kParseSafetensors, 4), kFlips / 2);
}

TEST(Hostile, ConfigBitFlips) {
  const std::string text =
      R"({"a":{"b":[1,-2.5e3,"x\u00e9\"",null,true]},"c":[{"d":1},{}],"e":[0,{"__float__":"NaN"}],"f":12345678901234567890})";
  const Parse parse = [](std::span<const std::byte> bytes) {
    flatten_config({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, "config.json");
    return std::vector<StoredTensor>();
  };
  EXPECT_GT(flip(text, text.size(), parse, 5), kFlips / 4);
}

}  // namespace
}  // namespace stretto
