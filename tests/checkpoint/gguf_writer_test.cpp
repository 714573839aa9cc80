#include "checkpoint/gguf_writer.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <cmath>
#include <csignal>
#include <cstring>
#include <iterator>
#include <string>

#include "checkpoint/checkpoint.h"
#include "checkpoint/fixtures.h"

namespace stretto {
namespace {

using test::error_of;
using test::expect_contains;

std::vector<GgufTensorPlan> plan_of(const Checkpoint& checkpoint) {
  std::vector<GgufTensorPlan> plan;
  for (const StoredTensor& tensor : checkpoint.tensors())
    plan.push_back({tensor.name, tensor.view.type, tensor.view.shape});
  return plan;
}

void rewrite(const Checkpoint& from, const std::filesystem::path& to) {
  GgufWriter out(to, from.metadata(), plan_of(from));
  for (const StoredTensor& tensor : from.tensors()) out.append(tensor.view.bytes);
  out.finish();
}

size_t files_in(const std::filesystem::path& dir) {
  return static_cast<size_t>(std::distance(std::filesystem::directory_iterator(dir), {}));
}

TEST(GgufWriter, RoundTripsTheCaseFilesByteForByte) {
  // A canonical file ends with padding; some of the cases leave it out.
  struct Case {
    const char* name;
    size_t missing_padding;
  };
  constexpr Case kCases[] = {{"ok_empty", 0},       {"ok_kv_only", 0},        {"ok_all_types", 0},
                             {"ok_two_tensors", 0}, {"ok_align_64", 0},       {"ok_no_final_padding", 20},
                             {"ok_q4_0", 24},       {"ok_tensor_name_63", 20}};
  const test::TempDir dir;
  const std::string cases = std::string(STRETTO_TEST_DATA) + "/gguf_cases/";
  for (const Case& c : kCases) {
    const std::string source = cases + c.name + ".gguf";
    rewrite(*open_checkpoint(source), dir / "copy.gguf");
    EXPECT_EQ(test::read_file(dir / "copy.gguf"), test::read_file(source) + std::string(c.missing_padding, '\0'))
        << c.name;
  }
  // Version 2 comes out as version 3, which has the same layout.
  rewrite(*open_checkpoint(cases + "ok_version2.gguf"), dir / "copy.gguf");
  EXPECT_EQ(test::read_file(dir / "copy.gguf"), test::read_file(cases + "ok_kv_only.gguf"));
}

TEST(GgufWriter, ArraysOfEveryTypeSurvive) {
  Metadata m;
  const auto array = [](MetaType element, MetaValue::Data data) {
    return MetaValue{MetaType::kArray, element, std::move(data)};
  };
  m.add("u8", array(MetaType::kU8, std::vector<uint64_t>{0, 255}));
  m.add("i8", array(MetaType::kI8, std::vector<int64_t>{-128, 127}));
  m.add("u16", array(MetaType::kU16, std::vector<uint64_t>{65535}));
  m.add("i16", array(MetaType::kI16, std::vector<int64_t>{-32768}));
  m.add("u32", array(MetaType::kU32, std::vector<uint64_t>{4294967295u}));
  m.add("i32", array(MetaType::kI32, std::vector<int64_t>{INT32_MIN}));
  m.add("u64", array(MetaType::kU64, std::vector<uint64_t>{UINT64_MAX}));
  m.add("i64", array(MetaType::kI64, std::vector<int64_t>{INT64_MIN}));
  m.add("f32", array(MetaType::kF32, std::vector<double>{0.1f, -0.0, INFINITY}));
  m.add("f64", array(MetaType::kF64, std::vector<double>{0.1, 1e300}));
  m.add("bool", array(MetaType::kBool, std::vector<bool>{true, false, true}));
  m.add("string", array(MetaType::kString, std::vector<std::string>{"", std::string("\0\xff", 2), "z"}));
  const test::TempDir dir;
  GgufWriter(dir / "m.gguf", m, {}).finish();
  const auto read = open_checkpoint(dir / "m.gguf");
  ASSERT_EQ(read->metadata().entries().size(), m.entries().size());
  for (size_t i = 0; i < m.entries().size(); ++i) {
    const Metadata::Entry& entry = read->metadata().entries()[i];
    EXPECT_EQ(entry.key, m.entries()[i].key);
    EXPECT_EQ(entry.value.element_type, m.entries()[i].value.element_type) << entry.key;
    EXPECT_TRUE(entry.value.data == m.entries()[i].value.data) << entry.key;
  }
}

TEST(GgufWriter, StreamsPiecesAndPads) {
  const test::TempDir dir;
  GgufWriter out(dir / "m.gguf", {}, {{"a", DType::kI8, Shape({1, 1, 5})}, {"s", DType::kF32, Shape()}});
  EXPECT_EQ(out.current(), 0u);
  out.append(test::as_bytes("he"));
  EXPECT_EQ(out.current(), 0u);
  out.append(test::as_bytes("llo"));
  EXPECT_EQ(out.current(), 1u);
  EXPECT_FALSE(std::filesystem::exists(dir / "m.gguf"));
  out.append(test::as_bytes(std::string_view("\0\0\x80\x3f", 4)));
  out.finish();
  EXPECT_EQ(std::filesystem::file_size(dir / "m.gguf"), out.total_bytes());
  EXPECT_EQ(files_in(dir.path()), 1u);
  const auto read = open_checkpoint(dir / "m.gguf");
  EXPECT_EQ(read->tensors()[0].view.shape, Shape({5}));  // outer ones are not stored
  EXPECT_EQ(read->tensors()[1].view.shape, Shape({1}));
  EXPECT_EQ(std::memcmp(read->tensors()[0].view.bytes.data(), "hello", 5), 0);
}

TEST(GgufWriter, NothingIsLostOnFailure) {
  const test::TempDir dir;
  test::write_file(dir / "m.gguf", "old");
  {
    GgufWriter out(dir / "m.gguf", {}, {{"a", DType::kF32, Shape({2})}});
    out.append(test::as_bytes("1234"));
  }  // given up half way
  EXPECT_EQ(test::read_file(dir / "m.gguf"), "old");
  EXPECT_EQ(files_in(dir.path()), 1u);
}

TEST(GgufWriter, RefusesWhatTheFormatCannotStore) {
  const test::TempDir dir;
  const auto refusal = [&dir](std::vector<GgufTensorPlan> plan) {
    return error_of(ErrorKind::kUnsupported, [&] { GgufWriter(dir / "m.gguf", {}, plan); });
  };
  expect_contains(refusal({{std::string(64, 'n'), DType::kF32, Shape({1})}}),
                  "its name has 64 bytes, allowed are 1..63");
  expect_contains(refusal({{"a", DType::kF8_E4M3, Shape({1})}}),
                  "tensor \"a\" cannot be stored in a GGUF file: the format has no type F8_E4M3");
  expect_contains(refusal({{"a", DType::kQ4_K, Shape({128})}}), "not a multiple of the 256-element blocks of Q4_K");
  expect_contains(refusal({{"a", DType::kF32, Shape({0, 4})}}), "its shape [0, 4] is empty");
  expect_contains(refusal({{"a", DType::kF32, Shape({1})}, {"a", DType::kF32, Shape({1})}}),
                  "two tensors with the name \"a\"");
  EXPECT_EQ(files_in(dir.path()), 0u);
}

TEST(GgufWriter, PlacesThatCannotBeWritten) {
  const test::TempDir dir;
  expect_contains(error_of(ErrorKind::kBadArgument, [&] { GgufWriter(dir / "no/such/dir.gguf", {}, {}); }),
                  "cannot create");
  expect_contains(error_of(ErrorKind::kBadArgument, [&] { GgufWriter(dir.path(), {}, {}); }), "is a directory");
}

// Stands in for a full disk: the process may not write files beyond `bytes`.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) {
    getrlimit(RLIMIT_FSIZE, &before_);
    old_handler_ = std::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit = {bytes, before_.rlim_max};
    setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FileSizeLimit() {
    setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, old_handler_);
  }

 private:
  rlimit before_ = {};
  void (*old_handler_)(int) = nullptr;
};

TEST(GgufWriter, FullDisk) {
  const test::TempDir dir;
  test::write_file(dir / "m.gguf", "old");
  {
    const FileSizeLimit limit(4096);
    // Noticed when the space is claimed or, where the file system cannot do that, at the write that does not fit.
    error_of(ErrorKind::kBadArgument, [&] {
      GgufWriter out(dir / "m.gguf", {}, {{"a", DType::kI8, Shape({100'000})}});
      out.append(test::as_bytes(std::string(100'000, 'x')));
    });
    const std::string message = error_of(ErrorKind::kBadArgument, [&] {
      OutputFile out(dir / "m.gguf");
      for (int i = 0; i < 100; ++i) out.write_zeros(1000);
    });
    expect_contains(message, "cannot write after 4096 bytes");
    expect_contains(message, "the target file was left as it was");
  }
  EXPECT_EQ(test::read_file(dir / "m.gguf"), "old");
  EXPECT_EQ(files_in(dir.path()), 1u);
}

}  // namespace
}  // namespace stretto
