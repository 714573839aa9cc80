// Split GGUF files: every rule of section 2 of the GGUF specification.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "checkpoint/fixtures.h"
#include "checkpoint/gguf_checkpoint.h"
#include "checkpoint/gguf_writer.h"

namespace stretto {
namespace {

using test::error_of;
using test::expect_contains;

struct PartKeys {
  int64_t number = 0;
  int64_t count = 3;
  int64_t total = 4;
};

Metadata part_metadata(const PartKeys& keys) {
  Metadata m;
  if (keys.number == 0) m.add("general.architecture", MetaValue::string("llama"));
  m.add("split.no", {MetaType::kU16, MetaType::kNull, static_cast<uint64_t>(keys.number)});
  m.add("split.count", {MetaType::kU16, MetaType::kNull, static_cast<uint64_t>(keys.count)});
  if (keys.total >= 0) m.add("split.tensors.count", {MetaType::kI32, MetaType::kNull, keys.total});
  return m;
}

// One F32 element per tensor, holding the position of its name in `names` + 10 * number.
void write_part(const std::filesystem::path& path, const PartKeys& keys, const std::vector<std::string>& names) {
  std::vector<GgufTensorPlan> plan;
  for (const std::string& name : names) plan.push_back({name, DType::kF32, Shape({1})});
  GgufWriter out(path, part_metadata(keys), plan);
  for (size_t i = 0; i < names.size(); ++i) {
    const float value = static_cast<float>(i + 10 * static_cast<size_t>(keys.number));
    out.append(std::as_bytes(std::span(&value, 1)));
  }
  out.finish();
}

class GgufSplit : public testing::Test {
 protected:
  std::filesystem::path part(uint64_t number, uint64_t count = 3) const {
    return dir_ / split_file_name("m-Q8", number, count);
  }

  void write_good() const {
    write_part(part(1), {0}, {});  // the first part may hold metadata only
    write_part(part(2), {1}, {"a", "b"});
    write_part(part(3), {2}, {"c", "d"});
  }
  std::string refusal(ErrorKind kind = ErrorKind::kInvalidModel) const {
    return error_of(kind, [this] { open_checkpoint(part(1)); });
  }

  test::TempDir dir_;
};

TEST_F(GgufSplit, OpensFromAnyPart) {
  write_good();
  for (uint64_t named = 1; named <= 3; ++named) {
    const auto checkpoint = open_checkpoint(part(named));
    EXPECT_EQ(checkpoint->path(), part(1));
    EXPECT_EQ(checkpoint->metadata().get_string("general.architecture"), "llama");
    std::string names;
    for (const StoredTensor& tensor : checkpoint->tensors()) names += tensor.name;
    EXPECT_EQ(names, "abcd");
    float value = 0;
    std::memcpy(&value, checkpoint->find("d")->view.bytes.data(), 4);
    EXPECT_EQ(value, 21.0f);
    EXPECT_EQ(checkpoint->tensor_bytes(), 16u);
  }
}

TEST_F(GgufSplit, MetadataOnlyNeedsTheFirstPart) {
  write_part(part(1), {0}, {"a"});
  OpenOptions options;
  options.metadata_only = true;
  EXPECT_EQ(open_checkpoint(part(1), options)->metadata().get_string("general.architecture"), "llama");
}

TEST_F(GgufSplit, MissingPart) {
  write_good();
  std::filesystem::remove(part(2));
  expect_contains(refusal(ErrorKind::kNotFound), "m-Q8-00002-of-00003.gguf: cannot open");
  std::filesystem::remove(part(1));
  expect_contains(error_of(ErrorKind::kNotFound, [this] { open_checkpoint(part(3)); }), "m-Q8-00001-of-00003.gguf");
}

TEST_F(GgufSplit, WrongNumberOrCountInAPart) {
  write_good();
  write_part(part(2), {2}, {"a", "b"});
  expect_contains(refusal(), "split.no is 2 and split.count is 3, wanted 1 and 3");
  write_part(part(2), {1, 4}, {"a", "b"});
  expect_contains(refusal(), "split.no is 1 and split.count is 4, wanted 1 and 3");
  write_part(part(2), {1}, {"a", "b"});
  write_part(part(1), {1}, {});
  expect_contains(refusal(), "must be named <prefix>-00002-of-00003.gguf");
}

TEST_F(GgufSplit, TheFirstPartFoundFromALaterOneMustBeTheFirst) {
  write_good();
  write_part(part(1), {0, 4}, {});
  expect_contains(error_of(ErrorKind::kInvalidModel, [this] { open_checkpoint(part(2)); }), "wanted 0 and 3");
}

TEST_F(GgufSplit, DuplicateTensorAcrossParts) {
  write_good();
  write_part(part(3), {2}, {"c", "a"});
  expect_contains(refusal(), "tensor \"a\" is already in an earlier part");
}

TEST_F(GgufSplit, TotalNumberOfTensors) {
  write_good();
  write_part(part(1), {0, 3, 5}, {});
  expect_contains(refusal(), "split.tensors.count is 5, the 3 parts hold 4 tensors");
  write_part(part(1), {0, 3, -1}, {});
  expect_contains(refusal(), "split.tensors.count is missing");
}

TEST_F(GgufSplit, TheNameMustFit) {
  write_good();
  for (const char* name : {"other.gguf", "m-00001-of-00004.gguf", "m-1-of-3.gguf", "m-000001-of-000003.gguf"}) {
    const std::filesystem::path moved = dir_ / name;
    std::filesystem::copy_file(part(1), moved);
    expect_contains(error_of(ErrorKind::kInvalidModel, [&moved] { open_checkpoint(moved); }),
                    "must be named <prefix>-00001-of-00003.gguf");
  }
}

TEST_F(GgufSplit, CountsThatMeanNotSplit) {
  for (const int64_t count : {0, 1}) {
    write_part(dir_ / "merged.gguf", {0, count, 0}, {"a"});
    EXPECT_EQ(open_checkpoint(dir_ / "merged.gguf")->tensors().size(), 1u);
  }
}

TEST_F(GgufSplit, KeysOfAnotherTypeAreNamed) {
  Metadata m;
  m.add("split.count", MetaValue::string("3"));
  GgufWriter(part(1), m, {}).finish();
  expect_contains(refusal(), "metadata key \"split.count\": wanted an integer in 0..65535, the file has \"3\"");
}

TEST(SplitName, Parses) {
  const std::optional<SplitName> name = parse_split_name("a-of-b-00002-of-00010.gguf");
  ASSERT_TRUE(name.has_value());
  EXPECT_EQ(name->prefix, "a-of-b");
  EXPECT_EQ(name->number, 2u);
  EXPECT_EQ(name->count, 10u);
  EXPECT_EQ(split_file_name("p", 7, 123456), "p-00007-of-123456.gguf");
  EXPECT_TRUE(parse_split_name("p-00007-of-123456.gguf").has_value());
  for (const char* bad :
       {"", ".gguf", "m.gguf", "m-00002-of-00001.gguf", "m-00000-of-00001.gguf", "m-0001-of-00002.gguf",
        "m-00001-of-00002.bin", "-of-00001.gguf", "00001-of-00002.gguf", "m-+0001-of-00002.gguf",
        "m-99999999999999999999-of-99999999999999999999.gguf", "m-00001-of-.gguf"}) {
    EXPECT_FALSE(parse_split_name(bad).has_value()) << bad;
  }
}

}  // namespace
}  // namespace stretto
