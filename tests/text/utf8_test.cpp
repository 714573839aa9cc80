#include "text/utf8.h"

#include <gtest/gtest.h>

#include "checkpoint/utf8.h"
#include "text/byte_alphabet.h"
#include "text/small_vocabulary.h"

namespace stretto {
namespace {

const std::string kR(kReplacementCharacter);

std::string sanitised(std::string_view text) {
  std::string storage;
  return std::string(sanitise_utf8(text, storage));
}

TEST(Utf8, EveryCodePointThereAndBack) {
  for (char32_t c = 0; c <= 0x10FFFF; ++c) {
    if (c >= 0xD800 && c <= 0xDFFF) continue;
    std::string text;
    append_utf8(text, c);
    ASSERT_EQ(utf8_length_at(text, 0), text.size()) << static_cast<uint32_t>(c);
    ASSERT_EQ(utf8_code_point(text, 0, text.size()), c);
  }
}

TEST(Utf8, SanitiseReplacesOneByteAtATime) {
  EXPECT_EQ(sanitised("\xE2\x82\x41"), kR + kR + "A");
  EXPECT_EQ(sanitised("\xE2\x82"), kR + kR);
  EXPECT_EQ(sanitised("\xC0\x80"), kR + kR);                    // overlong
  EXPECT_EQ(sanitised("\xE0\x9F\xBF"), kR + kR + kR);           // overlong
  EXPECT_EQ(sanitised("\xED\xA0\x80x"), kR + kR + kR + "x");    // surrogate
  EXPECT_EQ(sanitised("\xF4\x90\x80\x80"), kR + kR + kR + kR);  // above U+10FFFF
  EXPECT_EQ(sanitised("\xF5"
                      "a\xFF"),
            kR + "a" + kR);
  EXPECT_EQ(sanitised("12345678\x80"
                      "12345678"),
            "12345678" + kR + "12345678");
}

TEST(Utf8, ValidTextIsNotCopied) {
  const std::string text = "plain, \xC3\xA9, \xF0\x9F\x98\x80";
  std::string storage;
  EXPECT_EQ(sanitise_utf8(text, storage).data(), text.data());
}

TEST(Utf8, RandomBytesBecomeValidAndValidTextStays) {
  Noise noise(1);
  for (int i = 0; i < 2000; ++i) {
    const std::string bytes = noise.bytes(noise.below(40), 5);
    EXPECT_TRUE(is_valid_utf8(sanitised(bytes)));
    EXPECT_TRUE(is_valid_utf8(replace_invalid_utf8(bytes)));
    EXPECT_EQ(is_valid_utf8(bytes), sanitised(bytes) == bytes);
    const std::string text = noise.text(noise.below(20));
    EXPECT_EQ(sanitised(text), text);
    EXPECT_EQ(replace_invalid_utf8(text), text);
  }
}

TEST(Utf8, ReplaceInvalidTakesMaximalSubparts) {
  EXPECT_EQ(replace_invalid_utf8("\xE2\x82\x41"), kR + "A");
  EXPECT_EQ(replace_invalid_utf8("\xF0\x9F\x98"), kR);
  EXPECT_EQ(replace_invalid_utf8("\xF0\x80\x80\x41"), kR + kR + kR + "A");
  EXPECT_EQ(replace_invalid_utf8("\xED\xA0\x80"), kR + kR + kR);
  EXPECT_EQ(replace_invalid_utf8("a\x80"
                                 "b"),
            "a" + kR + "b");
}

TEST(Utf8, CompletePrefix) {
  EXPECT_EQ(complete_utf8_prefix(""), 0u);
  EXPECT_EQ(complete_utf8_prefix("ab"), 2u);
  EXPECT_EQ(complete_utf8_prefix("a\xC3"), 1u);
  EXPECT_EQ(complete_utf8_prefix("a\xC3\xA9"), 3u);
  EXPECT_EQ(complete_utf8_prefix("a\xE2\x82"), 1u);
  EXPECT_EQ(complete_utf8_prefix("\xF0\x9F\x98"), 0u);
  EXPECT_EQ(complete_utf8_prefix("\xF0\x9F\x98\x80"), 4u);
  EXPECT_EQ(complete_utf8_prefix("\x80\x80\x80\x80"), 4u);  // invalid, not truncated
  EXPECT_EQ(complete_utf8_prefix("\xC3\xA9\xA9"), 3u);
  EXPECT_EQ(complete_utf8_prefix("\xC0"), 1u);
  EXPECT_EQ(complete_utf8_prefix("\xF5"), 1u);
}

TEST(ByteAlphabet, IsOneToOne) {
  std::vector<bool> seen(0x144);
  for (int byte = 0; byte < 256; ++byte) {
    const char32_t symbol = byte_symbol(static_cast<uint8_t>(byte));
    ASSERT_LT(symbol, 0x144u);
    EXPECT_FALSE(seen[symbol]);
    seen[symbol] = true;
    EXPECT_EQ(symbol_byte(symbol), byte);
  }
  EXPECT_EQ(byte_symbol(' '), 0x120u);
  EXPECT_EQ(byte_symbol('\n'), 0x10Au);
  EXPECT_EQ(byte_symbol('\t'), 0x109u);
  EXPECT_EQ(byte_symbol('\r'), 0x10Du);
  EXPECT_EQ(byte_symbol(0xAD), 0x143u);
  EXPECT_EQ(byte_symbol('A'), 'A');
  EXPECT_EQ(symbol_byte(0x144), -1);
  EXPECT_EQ(symbol_byte(' '), -1);
}

TEST(ByteAlphabet, OtherCharactersStay) {
  EXPECT_EQ(bytes_of_symbols("a\xC4\xA0"
                             "b"),
            "a b");
  EXPECT_EQ(bytes_of_symbols("a b"), "a b");                      // a real space is outside the alphabet
  EXPECT_EQ(bytes_of_symbols("\xE2\x96\x81x"), "\xE2\x96\x81x");  // U+2581
  EXPECT_EQ(bytes_of_symbols("\xFFx"), "\xFFx");                  // not even UTF-8
}

}  // namespace
}  // namespace stretto
