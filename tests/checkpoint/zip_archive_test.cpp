#include "checkpoint/zip_archive.h"

#include <gtest/gtest.h>

#include "checkpoint/fixtures.h"
#include "checkpoint/pt_bytes.h"

namespace stretto {
namespace {

using test::error_of;
using test::expect_contains;
using test::zip_of;
using test::ZipEntry;

std::string refusal(const std::string& bytes) {
  const test::ExactCopy copy(bytes);
  return error_of(ErrorKind::kInvalidModel, [&] { parse_zip(copy.bytes(), "x.pt"); });
}

TEST(Crc32, PublishedCheckValue) {
  EXPECT_EQ(crc32(test::as_bytes("123456789")), 0xCBF43926U);
  EXPECT_EQ(crc32(test::as_bytes("")), 0U);
  EXPECT_EQ(crc32(test::as_bytes("The quick brown fox jumps over the lazy dog")), 0x414FA339U);
}

TEST(Zip, MembersComeOutInOrder) {
  const std::string bytes =
      zip_of({{"a/b", "hello"}, {"empty", ""}, {"padded", "xyz", 0, 0, 0, {}, "FB\x02\x00zz"}}, "a comment");
  const test::ExactCopy copy(bytes);
  const auto members = parse_zip(copy.bytes(), "x.pt");
  ASSERT_EQ(members.size(), 3U);
  EXPECT_EQ(members[0].name, "a/b");
  EXPECT_EQ(members[0].bytes.size(), 5U);
  EXPECT_EQ(members[0].crc32, crc32(members[0].bytes));
  EXPECT_TRUE(members[1].bytes.empty());
  EXPECT_EQ(std::memcmp(members[2].bytes.data(), "xyz", 3), 0);
}

TEST(Zip, SixtyFourBitRecordsAreRead) {
  // One member whose sizes and offset stand in extra fields, and a 64-bit end of directory.
  using test::little_endian;
  const std::string data = "0123456789", sum = little_endian(crc32(test::as_bytes(data)), 4),
                    full = little_endian(~0ULL, 4);
  const std::string local = little_endian(0x04034b50, 4) + little_endian(0, 10) + sum + little_endian(10, 4) +
                            little_endian(10, 4) + little_endian(1, 2) + little_endian(0, 2) + "m" + data;
  const std::string extra =
      little_endian(1, 2) + little_endian(24, 2) + little_endian(10, 8) + little_endian(10, 8) + little_endian(0, 8);
  const std::string directory = little_endian(0x02014b50, 4) + little_endian(0, 12) + sum + full + full +
                                little_endian(1, 2) + little_endian(extra.size(), 2) + little_endian(0, 10) + full +
                                "m" + extra;
  const std::string end64 = little_endian(0x06064b50, 4) + little_endian(44, 8) + little_endian(0, 12) +
                            little_endian(1, 8) + little_endian(1, 8) + little_endian(directory.size(), 8) +
                            little_endian(local.size(), 8);
  const std::string locator = little_endian(0x07064b50, 4) + little_endian(0, 4) +
                              little_endian(local.size() + directory.size(), 8) + little_endian(1, 4);
  const std::string end = little_endian(0x06054b50, 4) + little_endian(0, 4) + little_endian(0xffff, 2) +
                          little_endian(0xffff, 2) + full + full + little_endian(0, 2);
  const std::string bytes = local + directory + end64 + locator + end;
  const auto members = parse_zip(test::as_bytes(bytes), "x.pt");
  ASSERT_EQ(members.size(), 1U);
  EXPECT_EQ(std::memcmp(members[0].bytes.data(), data.data(), 10), 0);
  std::string far = bytes;
  far[local.size() + directory.size() + 55] = 0x7f;  // the directory's offset
  refusal(far);
}

TEST(Zip, WhatContradictsItselfIsRefused) {
  expect_contains(refusal("PK"), "no ZIP archive");
  expect_contains(refusal(std::string(100, 'x')), "no end of a ZIP directory");
  expect_contains(refusal(zip_of({{"a", "x", 8}})), "member \"a\" is compressed (method 8)");
  expect_contains(refusal(zip_of({{"a", "x", 0, 1}})), "member \"a\" is encrypted");
  expect_contains(refusal(zip_of({{"a", "x"}, {"a", "y"}})), "two members with the name \"a\"");
  expect_contains(refusal(zip_of({{"a", "x", 0, 0, 0, "b"}})), "another name in its own header");
  expect_contains(refusal(zip_of({{"a", "x", 0, 0, 0, {}, {}, 1000}})), "reach into the directory");
  expect_contains(refusal(zip_of({{"a", "xxxx", 0, 0, 0, {}, {}, 40}, {"b", std::string(60, 'y')}})), "overlaps");
}

TEST(Zip, EveryTruncationAndByteChangeIsAnAnswer) {
  const std::string bytes = zip_of({{"m/data.pkl", "abc"}, {"m/data/0", "0123456789"}}, "c");
  for (size_t n = 0; n < bytes.size(); ++n) refusal(bytes.substr(0, n));
  for (size_t i = 0; i < bytes.size(); ++i)
    for (const int change : {1, 0x80, 0xff}) {
      std::string changed = bytes;
      changed[i] = static_cast<char>(changed[i] ^ change);
      const test::ExactCopy copy(changed);
      try {
        parse_zip(copy.bytes(), "x.pt");
      } catch (const Error& e) {
        EXPECT_EQ(e.kind(), ErrorKind::kInvalidModel);
      }
    }
}

}  // namespace
}  // namespace stretto
