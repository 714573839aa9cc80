// The digests of FIPS 180-4's examples, and lengths around a block's end.
#include "base/sha256.h"

#include <gtest/gtest.h>

namespace stretto {
namespace {

std::string digest(const std::string& text) { return sha256_hex(std::as_bytes(std::span(text.data(), text.size()))); }

TEST(Sha256, Examples) {
  EXPECT_EQ(digest(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(digest("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(digest("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  EXPECT_EQ(digest(std::string(1'000'000, 'a')), "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(Sha256, EveryLengthHasItsOwnDigest) {
  std::string last;
  for (size_t n = 50; n < 70; ++n) {
    const std::string d = digest(std::string(n, 'x'));
    EXPECT_EQ(d.size(), 64U);
    EXPECT_NE(d, last);
    last = d;
  }
}

}  // namespace
}  // namespace stretto
