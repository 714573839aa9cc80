#include "checkpoint/mapped_file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <utility>

#include "checkpoint/fixtures.h"

namespace stretto {
namespace {

using test::error_of;
using test::expect_contains;

TEST(MappedFile, MapsAndMoves) {
  const test::TempDir dir;
  test::write_file(dir / "f", "hello");
  MappedFile a(dir / "f");
  const std::byte* data = a.bytes().data();
  MappedFile b(std::move(a));
  EXPECT_EQ(a.size(), 0u);
  EXPECT_EQ(b.bytes().data(), data);
  test::write_file(dir / "g", "g");
  MappedFile c(dir / "g");
  c = std::move(b);
  EXPECT_EQ(c.size(), 5u);
  EXPECT_EQ(std::to_integer<char>(c.bytes()[4]), 'o');
  EXPECT_EQ(c.path(), dir / "f");
}

TEST(MappedFile, SaysWhyItCannot) {
  const test::TempDir dir;
  test::write_file(dir / "empty", "");
  ASSERT_EQ(::mkfifo((dir / "pipe").c_str(), 0600), 0);
  const auto why = [](ErrorKind kind, const std::filesystem::path& path) {
    return error_of(kind, [&path] { MappedFile file(path); });
  };
  expect_contains(why(ErrorKind::kNotFound, dir / "absent"), "absent: cannot open: No such file or directory");
  expect_contains(why(ErrorKind::kBadArgument, dir.path()), "is a directory, not a file");
  expect_contains(why(ErrorKind::kBadArgument, dir / "pipe"), "is a device or a pipe, not a file");
  expect_contains(why(ErrorKind::kInvalidModel, dir / "empty"), "the file is empty (0 bytes)");
  if (::geteuid() != 0) {  // root may read everything
    test::write_file(dir / "secret", "x");
    ::chmod((dir / "secret").c_str(), 0);
    expect_contains(why(ErrorKind::kNotFound, dir / "secret"), "Permission denied");
  }
}

TEST(MappedFile, BringIntoMemoryTakesAnyRange) {
  const test::TempDir dir;
  test::write_file(dir / "f", std::string(100'000, 'x'));
  const MappedFile file(dir / "f");
  for (const auto& [first, n] : {std::pair<size_t, size_t>{0, 100'000}, {1, 1}, {4095, 2}, {99'999, 1}, {50'000, 0}}) {
    EXPECT_NO_THROW(bring_into_memory(file.bytes().subspan(first, n)));
  }
}

TEST(ReadSmallFile, ReadsAndBounds) {
  const test::TempDir dir;
  test::write_file(dir / "f", std::string("a\0b", 3));
  EXPECT_EQ(read_small_file(dir / "f", 3), std::string("a\0b", 3));
  expect_contains(error_of(ErrorKind::kInvalidModel, [&] { read_small_file(dir / "f", 2); }),
                  "3 bytes, at most 2 are accepted");
}

}  // namespace
}  // namespace stretto
