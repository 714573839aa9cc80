#include "text/spm.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"
#include "text/cpu_seconds.h"
#include "text/small_vocabulary.h"
#include "text/tokenizer.h"

namespace stretto {
namespace {

using Ids = std::vector<int32_t>;

constexpr EncodeOptions kPlain{.add_special = false, .parse_special = false};
const std::string kBlank = "\xE2\x96\x81";

// ids 259.. : blank, a, b, c
SmallVocabulary letters() {
  SmallVocabulary v = SmallVocabulary::spm();
  v.add(kBlank);
  v.add("a");
  v.add("b");
  v.add("c");
  return v;
}
constexpr int32_t kBlankId = 259;
constexpr int32_t kA = 260;
constexpr int32_t kB = 261;
constexpr int32_t kC = 262;

Metadata without_prefix(const SmallVocabulary& v) {
  return v.metadata_with("tokenizer.ggml.add_space_prefix", MetaValue::boolean(false));
}

TEST(Spm, HighestScoreFirstThenLeftmost) {
  SmallVocabulary v = letters();
  const int32_t ab = v.add("ab", 1, -2.0);
  const int32_t bc = v.add("bc", 1, -1.0);
  const int32_t aa = v.add("aa", 1, -1.0);
  const auto t = make_tokenizer(without_prefix(v));
  EXPECT_EQ(t->encode("abc", kPlain), (Ids{kA, bc}));
  EXPECT_EQ(t->encode("abb", kPlain), (Ids{ab, kB}));
  EXPECT_EQ(t->encode("aaab", kPlain), (Ids{aa, ab}));  // the left "aa" first
}

TEST(Spm, PositiveNegativeAndZeroScoresAreOrdered) {
  const double scores[] = {-INFINITY, -1e30, -1.0, -0.0, 0.5, 1e30, INFINITY};
  for (size_t low = 0; low < std::size(scores); ++low) {
    for (size_t high = low + 1; high < std::size(scores); ++high) {
      SmallVocabulary v = letters();
      v.add("ab", 1, scores[low]);
      const int32_t bc = v.add("bc", 1, scores[high]);
      EXPECT_EQ(make_tokenizer(without_prefix(v))->encode("abc", kPlain), (Ids{kA, bc})) << low << " " << high;
    }
  }
  SmallVocabulary v = letters();
  const int32_t ab = v.add("ab", 1, -0.0);
  v.add("bc", 1, 0.0);
  EXPECT_EQ(make_tokenizer(without_prefix(v))->encode("abc", kPlain), (Ids{ab, kC}));  // equal: leftmost
}

TEST(Spm, SpacePrefix) {
  SmallVocabulary v = letters();
  const int32_t blank_a = v.add(kBlank + "a", 1, 1.0);
  const int32_t marker = v.add("<m>", 4);
  const auto t = make_tokenizer(v.metadata());
  EXPECT_EQ(t->encode("a", kPlain), (Ids{blank_a}));
  EXPECT_EQ(t->encode(" a", kPlain), (Ids{kBlankId, blank_a}));
  EXPECT_EQ(t->encode("a", {}), (Ids{1, blank_a}));
  EXPECT_EQ(t->encode("", {}), (Ids{1}));
  EXPECT_EQ(t->encode("", kPlain), Ids{});
  EXPECT_EQ(t->encode("a<m>a<m>", kPlain), (Ids{blank_a, marker, blank_a, marker}));
  EXPECT_EQ(t->encode("<s>a", {}), (Ids{1, 1, blank_a}));
  EXPECT_EQ(make_tokenizer(without_prefix(v))->encode("a<m>a", kPlain), (Ids{kA, marker, kA}));
}

TEST(Spm, DecodeRemovesThePrefixOnce) {
  SmallVocabulary v = letters();
  const int32_t blank_a = v.add(kBlank + "a", 1, 1.0);
  const int32_t marker = v.add(" <m>", 4);
  const auto t = make_tokenizer(v.metadata());
  EXPECT_EQ(t->decode(Ids{blank_a, blank_a}, false), "a a");
  EXPECT_EQ(t->decode(Ids{kBlankId, blank_a}, false), " a");
  EXPECT_EQ(t->decode(Ids{1, blank_a}, false), "a");
  EXPECT_EQ(t->decode(Ids{1, blank_a}, true), "<s> a");
  EXPECT_EQ(t->decode(Ids{marker, blank_a}, false), " <m> a");  // no prefix goes before a special token
  EXPECT_EQ(t->piece(blank_a, false), " a");                    // a continuation keeps its space
  EXPECT_EQ(make_tokenizer(without_prefix(v))->decode(Ids{blank_a}, false), " a");
}

TEST(Spm, UnknownCharactersBecomeByteTokens) {
  SmallVocabulary v = letters();
  const auto t = make_tokenizer(without_prefix(v));
  EXPECT_EQ(t->encode("a\xC3\xA9", kPlain), (Ids{kA, 3 + 0xC3, 3 + 0xA9}));
  EXPECT_EQ(t->encode("\xFF", kPlain), (Ids{3 + 0xFF}));
  EXPECT_EQ(t->encode("\xE2\x82", kPlain), (Ids{3 + 0xE2, 3 + 0x82}));  // cut character at the end of the text
  EXPECT_EQ(t->encode("\x80"
                      "a",
                      kPlain),
            (Ids{3 + 0x80, kA}));
}

TEST(Spm, WithoutByteTokenTheByteItselfThenUnknown) {
  SmallVocabulary v = letters();
  v.tokens[3 + 0xC3] = "gone1";
  v.tokens[3 + 0xA9] = "gone2";
  const int32_t single = v.add("\xC3");
  EXPECT_EQ(make_tokenizer(without_prefix(v))->encode("\xC3\xA9", kPlain), (Ids{single, 0}));
}

TEST(Spm, TypesDoNotMatterForMerging) {
  SmallVocabulary v = letters();
  const int32_t unused = v.add("ab", 5, 1.0);
  EXPECT_EQ(make_tokenizer(without_prefix(v))->encode("ab", kPlain), (Ids{unused}));
}

TEST(Spm, RandomTextsComeBack) {
  SmallVocabulary v = letters();
  v.add(kBlank + "a", 1, 3);
  v.add("bb", 1, 2);
  v.add("th", 1, 1);
  const auto with_prefix = make_tokenizer(v.metadata());
  const auto plain = make_tokenizer(without_prefix(v));
  // A written U+2581 comes back as a space. So does, the other way round, a space after a cut character: the character
  // takes the first byte of the escaped space with it, and the rest ends as byte tokens.
  const auto spaced = [](std::string text) {
    for (size_t at; (at = text.find(kBlank)) != std::string::npos;) text.replace(at, kBlank.size(), " ");
    return text;
  };
  Noise noise(6);
  for (int i = 0; i < 2000; ++i) {
    const std::string text = spaced(noise.text(noise.below(60)));
    EXPECT_EQ(with_prefix->decode(with_prefix->encode(text, kPlain), false), text);
    EXPECT_EQ(plain->decode(plain->encode(text, kPlain), false), text);
    const std::string bytes = spaced(noise.bytes(noise.below(100), noise.below(11)));
    EXPECT_EQ(spaced(with_prefix->decode(with_prefix->encode(bytes, kPlain), false)), bytes);
    EXPECT_EQ(spaced(plain->decode(plain->encode(bytes, kPlain), false)), bytes);
  }
}

TEST(Spm, HugeTextTakesLessThanTwoSeconds) {
  SmallVocabulary v = letters();
  std::string part = "a";
  int32_t last = 0;
  for (int i = 0; i < 8; ++i, part += part) last = v.add(part + part, 1, -i);
  const auto t = make_tokenizer(without_prefix(v));
  const double start = cpu_seconds();
  const Ids ids = t->encode(std::string(1 << 20, 'a'), kPlain);
  EXPECT_LT(cpu_seconds() - start, 2.0 * kSlowdown);
  EXPECT_EQ(ids, Ids(4096, last));
}

TEST(Spm, ScoresMustBeNumbersAndEnough) {
  SmallVocabulary v = letters();
  v.scores[5] = NAN;
  EXPECT_THROW(make_tokenizer(v.metadata()), Error);
  v.scores[5] = 0;
  v.scores.pop_back();
  try {
    make_tokenizer(v.metadata());
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kInvalidModel);
    EXPECT_STREQ(error.what(), "tokenizer.ggml.scores has 262 entries, the vocabulary has 263 tokens");
  }
}

}  // namespace
}  // namespace stretto
