#include "checkpoint/checkpoint.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <stdexcept>
#include <string>
#include <vector>

#include "checkpoint/fixtures.h"
#include "checkpoint/gguf_writer.h"
#include "checkpoint/safetensors.h"

namespace stretto {
namespace {

using test::error_of;
using test::expect_contains;

std::string refusal(ErrorKind kind, const std::string& model) {
  return error_of(kind, [&model] { open_checkpoint(model); });
}

// Tensors of the given sizes in bytes.
void write_gguf(const std::filesystem::path& path, const std::vector<uint64_t>& sizes) {
  std::vector<GgufTensorPlan> plan;
  for (size_t i = 0; i < sizes.size(); ++i) plan.push_back({fmt::format("t{}", i), DType::kI8, Shape({sizes[i]})});
  Metadata m;
  m.add("general.architecture", MetaValue::string("llama"));
  GgufWriter out(path, m, plan);
  for (const uint64_t size : sizes) out.append(test::as_bytes(std::string(size, 'x')));
  out.finish();
}

TEST(OpenCheckpoint, FindAndSizes) {
  const test::TempDir dir;
  write_gguf(dir / "m.gguf", {5, 40});
  const auto checkpoint = open_checkpoint(dir / "m.gguf");
  EXPECT_EQ(checkpoint->tensor_bytes(), 45u);
  EXPECT_EQ(checkpoint->find("t1")->view.bytes.size(), 40u);
  EXPECT_EQ(checkpoint->find("t2"), nullptr);
  EXPECT_EQ(checkpoint->side_file("tokenizer.json"), std::nullopt);
}

TEST(OpenCheckpoint, GgufIsKnownByItsMagic) {
  const test::TempDir dir;
  write_gguf(dir / "sha256-0123", {5});
  EXPECT_EQ(open_checkpoint(dir / "sha256-0123")->container(), Container::kGguf);
  test::write_file(dir / "notes.txt", "hello there");
  expect_contains(refusal(ErrorKind::kInvalidModel, dir / "notes.txt"),
                  "magic is 68 65 6c 6c, wanted 47 47 55 46 (GGUF)");
  test::write_file(dir / "w.pth", "PK\x03\x04");
  expect_contains(refusal(ErrorKind::kUnsupported, dir / "w.pth"), "save them as safetensors");
}

TEST(OpenCheckpoint, WeightFileOfADirectory) {
  const test::TempDir dir;
  write_safetensors(dir / "model.safetensors", {});
  expect_contains(refusal(ErrorKind::kBadArgument, dir / "model.safetensors"),
                  "name a directory that also holds config.json");
  test::write_file(dir / "config.json", "{}");
  const auto checkpoint = open_checkpoint(dir / "model.safetensors");
  EXPECT_EQ(checkpoint->container(), Container::kHuggingFace);
  EXPECT_EQ(checkpoint->path(), dir.path());
}

TEST(OpenCheckpoint, NothingThere) {
  expect_contains(refusal(ErrorKind::kNotFound, "/no/such/m.gguf"), "/no/such/m.gguf: no such file or directory");
  expect_contains(refusal(ErrorKind::kNotFound, "models/m.gguf"), "models/m.gguf: no such file or directory");
  expect_contains(refusal(ErrorKind::kNotFound, ""), "no such file or directory");
  expect_contains(refusal(ErrorKind::kNotFound, "a\nb"), "a\\x0ab: no such file");
  expect_contains(refusal(ErrorKind::kNotFound, std::string(5000, 'x')), "no such file");
}

TEST(OpenCheckpoint, NotAFile) {
  const test::TempDir dir;
  ASSERT_EQ(::mkfifo((dir / "pipe").c_str(), 0600), 0);
  expect_contains(refusal(ErrorKind::kBadArgument, dir / "pipe"), "is a device or a pipe");
}

TEST(Prefault, TouchesEverythingAndReports) {
  const test::TempDir dir;
  write_gguf(dir / "m.gguf", {5, 10'000'000, 4096, 1});
  const auto checkpoint = open_checkpoint(dir / "m.gguf");
  for (const int threads : {0, 1, 4}) {
    uint64_t last = 0;
    const double seconds = checkpoint->prefault(threads, [&](uint64_t done, uint64_t total) {
      EXPECT_EQ(total, checkpoint->tensor_bytes());
      EXPECT_GE(done, last);
      last = done;
    });
    EXPECT_EQ(last, checkpoint->tensor_bytes());
    EXPECT_GE(seconds, 0.0);
  }
  EXPECT_GE(checkpoint->prefault(2, nullptr), 0.0);
}

TEST(Prefault, ProgressMayStopIt) {
  const test::TempDir dir;
  write_gguf(dir / "m.gguf", {100'000});
  const auto checkpoint = open_checkpoint(dir / "m.gguf");
  EXPECT_THROW(checkpoint->prefault(2, [](uint64_t, uint64_t) { throw std::runtime_error("stop"); }),
               std::runtime_error);
}

}  // namespace
}  // namespace stretto
