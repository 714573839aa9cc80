#include "checkpoint/utf8.h"

#include <gtest/gtest.h>

namespace stretto {
namespace {

TEST(Utf8, AcceptsTheWholeRange) {
  for (const char* good : {"", "a", "\x7f", "\xc2\x80", "\xdf\xbf", "\xe0\xa0\x80", "\xed\x9f\xbf", "\xee\x80\x80",
                           "\xef\xbf\xbf", "\xf0\x90\x80\x80", "\xf4\x8f\xbf\xbf", "a\xc3\xa9z"}) {
    EXPECT_TRUE(is_valid_utf8(good)) << printable(good);
  }
}

TEST(Utf8, RefusesMalformedSequences) {
  for (const char* bad :
       {"\x80", "\xbf", "\xc0\x80", "\xc1\xbf", "\xc2", "\xc2z", "\xe0\x9f\xbf", "\xe2\x82", "\xed\xa0\x80",
        "\xed\xbf\xbf", "\xf0\x8f\xbf\xbf", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xff", "ok\xf0\x9f\x98"}) {
    EXPECT_FALSE(is_valid_utf8(bad)) << printable(bad);
  }
}

TEST(Utf8, PrintableEscapesAndCuts) {
  EXPECT_EQ(printable(std::string_view("a\0\n\x1b\x7f\xffz", 7)), "a\\x00\\x0a\\x1b\\x7f\\xffz");
  EXPECT_EQ(printable("\xc2\x9b\xc3\xa9"), "\\xc2\\x9b\xc3\xa9");
  EXPECT_EQ(printable("abcdef", 3), "abc...");
  EXPECT_EQ(printable("ab\xc3\xa9", 3), "ab...");
  EXPECT_EQ(printable("abc", 3), "abc");
}

}  // namespace
}  // namespace stretto
