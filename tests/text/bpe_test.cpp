#include "text/bpe.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <map>

#include "base/error.h"
#include "text/byte_alphabet.h"
#include "text/cpu_seconds.h"
#include "text/small_vocabulary.h"
#include "text/tokenizer.h"
#include "text/utf8.h"

namespace stretto {
namespace {

using Ids = std::vector<int32_t>;

constexpr EncodeOptions kPlain{.add_special = false, .parse_special = false};

Ids encode(const SmallVocabulary& v, std::string_view text) {
  return make_tokenizer(v.metadata())->encode(text, kPlain);
}

TEST(ByteLevelBpe, MergesByRankNotByPosition) {
  SmallVocabulary v = SmallVocabulary::byte_level("gpt-2");
  const int32_t bc = v.merge("b", "c");    // rank 0
  const int32_t ab = v.merge("a", "b");    // rank 1
  const int32_t abc = v.merge("ab", "c");  // rank 2: never reached from a b c
  EXPECT_EQ(encode(v, "abc"), (Ids{'a', bc}));
  EXPECT_EQ(encode(v, "ab"), (Ids{ab}));
  EXPECT_EQ(encode(v, "abbc"), (Ids{ab, bc}));
  (void)abc;
}

TEST(ByteLevelBpe, EqualRanksMergeFromTheLeft) {
  SmallVocabulary v = SmallVocabulary::byte_level("gpt-2");
  const int32_t aa = v.merge("a", "a");
  const int32_t aaaa = v.merge("aa", "aa");
  EXPECT_EQ(encode(v, "aaa"), (Ids{aa, 'a'}));
  EXPECT_EQ(encode(v, "aaaaa"), (Ids{aaaa, 'a'}));
  EXPECT_EQ(encode(v, "aaaaaaa"), (Ids{aaaa, aa, 'a'}));
}

TEST(ByteLevelBpe, SpacesAndControlCharactersUseTheAlphabet) {
  SmallVocabulary v = SmallVocabulary::byte_level("gpt-2");
  const int32_t space_a = v.merge("\xC4\xA0", "a");  // U+0120
  const int32_t newlines = v.merge("\xC4\x8A", "\xC4\x8A");
  EXPECT_EQ(encode(v, "a a\n\n"), (Ids{'a', space_a, newlines}));
}

TEST(ByteLevelBpe, OfEqualPairsTheFirstRankCounts) {
  SmallVocabulary v = SmallVocabulary::byte_level("gpt-2");
  const int32_t ab = v.merge("a", "b");
  const int32_t bc = v.merge("b", "c");
  v.merges.push_back("a b");  // rank 2 would let "b c" go first
  EXPECT_EQ(encode(v, "abc"), (Ids{ab, 'c'}));
  (void)bc;
}

TEST(ByteLevelBpe, MergesThroughTextsThatAreNoTokens) {
  SmallVocabulary v = SmallVocabulary::byte_level("gpt-2");
  v.merges = {"a b", "ab c", "d e"};
  const int32_t abc = v.add("abc");
  EXPECT_EQ(encode(v, "abc"), (Ids{abc}));            // through "ab"
  EXPECT_EQ(encode(v, "abd"), (Ids{'a', 'b', 'd'}));  // "ab" falls back to its characters
  EXPECT_EQ(encode(v, "xdex"), (Ids{'x', 'd', 'e', 'x'}));
}

TEST(ByteLevelBpe, DropsBytesWithoutToken) {
  SmallVocabulary v;
  v.model = "gpt2";
  v.pre = "gpt-2";
  v.add("a");
  v.add("c");
  v.merges = {"b d"};
  EXPECT_EQ(encode(v, "abc"), (Ids{0, 1}));
  EXPECT_EQ(encode(v, "abdc"), (Ids{0, 1}));
  EXPECT_EQ(encode(v, "xyz"), Ids{});
}

TEST(ByteLevelBpe, IgnoreMergesTakesWholeTokens) {
  for (const char* pre : {"gpt-2", "llama-bpe"}) {
    SmallVocabulary v = SmallVocabulary::byte_level(pre);
    const int32_t bc = v.merge("b", "c");
    const int32_t abc = v.add("abc");  // unreachable by merges
    const Ids expected = std::string_view(pre) == "gpt-2" ? Ids{'a', bc} : Ids{abc};
    EXPECT_EQ(encode(v, "abc"), expected) << pre;
  }
}

TEST(ByteLevelBpe, InvalidUtf8IsReplacedByteByByte) {
  const SmallVocabulary v = SmallVocabulary::byte_level("gpt-2");
  EXPECT_EQ(encode(v,
                   "\xE2\x82"
                   "A"),
            (Ids{0xEF, 0xBF, 0xBD, 0xEF, 0xBF, 0xBD, 'A'}));
}

// The definition, on texts: the lowest rank, leftmost, until nothing fits.
std::vector<std::string> merge_by_definition(std::string_view bytes, const std::vector<std::string>& merges) {
  std::map<std::pair<std::string, std::string>, size_t> ranks;
  for (size_t i = 0; i < merges.size(); ++i) {
    const size_t space = merges[i].find(' ', 1);
    ranks.try_emplace({merges[i].substr(0, space), merges[i].substr(space + 1)}, i);
  }
  std::vector<std::string> symbols;
  for (const char c : bytes) {
    symbols.emplace_back();
    append_byte_symbols(symbols.back(), std::string_view(&c, 1));
  }
  for (;;) {
    size_t best_rank = SIZE_MAX;
    size_t best = 0;
    for (size_t i = 0; i + 1 < symbols.size(); ++i) {
      const auto found = ranks.find({symbols[i], symbols[i + 1]});
      if (found != ranks.end() && found->second < best_rank) {
        best_rank = found->second;
        best = i;
      }
    }
    if (best_rank == SIZE_MAX) return symbols;
    symbols[best] += symbols[best + 1];
    symbols.erase(symbols.begin() + static_cast<ptrdiff_t>(best) + 1);
  }
}

TEST(ByteLevelBpe, AgreesWithTheDefinitionOnShortAndLongPieces) {
  Noise noise(2);
  for (int round = 0; round < 40; ++round) {
    SmallVocabulary v = SmallVocabulary::byte_level("gpt-2");
    std::vector<std::string> parts = {"a", "b", "c"};
    for (int i = 0; i < 60; ++i) {
      const std::string left = parts[noise.below(parts.size())];
      const std::string right = parts[noise.below(parts.size())];
      if (left.size() + right.size() > 12) continue;
      v.merge(left, right);
      parts.push_back(left + right);
    }
    const auto tokenizer = make_tokenizer(v.metadata());
    for (const size_t length : {1, 2, 3, 7, 20, 47, 48, 49, 50, 120, 400}) {
      std::string text;
      while (text.size() < length) text.push_back("abc"[noise.below(3)]);
      std::vector<std::string> got;
      for (const int32_t id : tokenizer->encode(text, kPlain)) got.emplace_back(tokenizer->text(id));
      EXPECT_EQ(got, merge_by_definition(text, v.merges)) << text;
    }
  }
}

TEST(ByteLevelBpe, CachedPiecesGiveTheSameIds) {
  SmallVocabulary v = SmallVocabulary::byte_level("gpt-2");
  v.merge("a", "b");
  v.merge("ab", "ab");
  const auto tokenizer = make_tokenizer(v.metadata());
  Noise noise(3);
  for (int i = 0; i < 300; ++i) {
    const std::string text = noise.bytes(60, 10);
    EXPECT_EQ(tokenizer->encode(text, kPlain), make_tokenizer(v.metadata())->encode(text, kPlain)) << text;
  }
}

TEST(ByteLevelBpe, RandomTextsComeBack) {
  SmallVocabulary v = SmallVocabulary::byte_level("llama-bpe");
  for (const char* pair : {"t h", "th e", "e r", "\xC3\xA3 \xC4\xA3", "\xC4\xA0 t", "\xC4\x8A \xC4\x8A"}) {
    const std::string merge = pair;
    v.merge(merge.substr(0, merge.find(' ', 1)), merge.substr(merge.find(' ', 1) + 1));
  }
  const auto tokenizer = make_tokenizer(v.metadata());
  Noise noise(4);
  for (int i = 0; i < 3000; ++i) {
    const std::string bytes = noise.bytes(noise.below(80), noise.below(11));
    std::string storage;
    const Ids ids = tokenizer->encode(bytes, kPlain);
    EXPECT_EQ(tokenizer->decode(ids, false), sanitise_utf8(bytes, storage));
    const std::string text = noise.text(noise.below(60));
    EXPECT_EQ(tokenizer->decode(tokenizer->encode(text, kPlain), false), text);
  }
}

TEST(ByteLevelBpe, HugePieceTakesLessThanASecond) {
  SmallVocabulary v = SmallVocabulary::byte_level("gpt-2");
  std::string part = "a";
  int32_t last = 0;
  for (int i = 0; i < 10; ++i, part += part) last = v.merge(part, part);  // up to 1024 letters
  const auto tokenizer = make_tokenizer(v.metadata());
  const std::string text(1 << 20, 'a');
  const double start = cpu_seconds();
  const Ids ids = tokenizer->encode(text, kPlain);
  EXPECT_LT(cpu_seconds() - start, 1.0 * kSlowdown);
  EXPECT_EQ(ids, Ids(1024, last));
}

TEST(ByteLevelBpe, LoadsLargeVocabulariesQuickly) {
  SmallVocabulary v = SmallVocabulary::byte_level("qwen2");
  const auto letters = [](int n) {
    return std::string{static_cast<char>('a' + n % 26), static_cast<char>('a' + n / 26)};
  };
  for (int i = 0; i < 676; ++i) v.merge(letters(i).substr(0, 1), letters(i).substr(1));
  for (int i = 0; i < 150000; ++i) v.merge(letters(i % 676), letters(i / 676 % 676));
  const Metadata metadata = v.metadata();
  const double start = cpu_seconds();
  const auto tokenizer = make_tokenizer(metadata);
  EXPECT_LT(cpu_seconds() - start,
            2.0 * kSlowdown);  // about 0.05 s; the bound only catches node by node or quadratic building
  EXPECT_EQ(tokenizer->size(), 256 + 676 + 150000);
}

TEST(MergeTable, MalformedEntriesAreRefused) {
  for (const char* entry : {"ab", "", " ", " a", "a ", "\xC4\xA0"}) {
    SmallVocabulary v = SmallVocabulary::byte_level("gpt-2");
    v.merge("a", "b");
    v.merges.push_back(entry);
    try {
      make_tokenizer(v.metadata());
      ADD_FAILURE() << "accepted '" << entry << "'";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kInvalidModel);
      EXPECT_NE(std::string(error.what()).find("merges[1]"), std::string::npos) << error.what();
    }
  }
}

TEST(MergeTable, LeftPartMayBeginWithASpace) {
  SmallVocabulary v = SmallVocabulary::gemma4();
  v.add(" ");
  v.add("x");
  v.merges = {"  x"};  // left " ", right "x": never met in text, where spaces are escaped
  const int32_t x = v.tokens.size() - 1;
  EXPECT_EQ(encode(v, "x"), (Ids{static_cast<int32_t>(x)}));
}

TEST(RawUtf8Bpe, SpacesBecomeTheBlankSymbolAndNothingIsPrepended) {
  SmallVocabulary v = SmallVocabulary::gemma4();
  const int32_t a = v.add("a");
  const int32_t blank = v.add("\xE2\x96\x81");
  const int32_t blank_a = v.merge("\xE2\x96\x81", "a");
  EXPECT_EQ(encode(v, "a a  "), (Ids{a, blank_a, blank, blank}));
  const auto tokenizer = make_tokenizer(v.metadata());
  EXPECT_EQ(tokenizer->decode(Ids{blank_a, blank}, false), " a ");
}

TEST(RawUtf8Bpe, NewlineRunsThatAreTokensIgnoreMerges) {
  SmallVocabulary v = SmallVocabulary::gemma4();
  const int32_t a = v.add("a");
  const int32_t newline = v.add("\n");
  const int32_t two = v.merge("\n", "\n");
  const int32_t three = v.add("\n\n\n");  // no merge makes it
  EXPECT_EQ(encode(v, "a\n\n\na\n\n\n\n\na\n"), (Ids{a, three, a, two, two, newline, a, newline}));
  SmallVocabulary sarvam = v;
  sarvam.model = "gpt2";
  sarvam.pre = "sarvam-moe";
  EXPECT_EQ(encode(sarvam, "a\n\n\n"), (Ids{a, two, newline}));
  sarvam.pre = "granite-embed-multi-311m";
  EXPECT_EQ(encode(sarvam, "a\n\n\n"), (Ids{a, three}));
}

TEST(RawUtf8Bpe, UnknownCharactersBecomeByteTokens) {
  SmallVocabulary v = SmallVocabulary::gemma4();
  EXPECT_EQ(encode(v, "\xC3\xA9"), (Ids{3 + 0xC3, 3 + 0xA9}));
  EXPECT_EQ(encode(v, " "), (Ids{3 + 0xE2, 3 + 0x96, 3 + 0x81}));
  EXPECT_EQ(encode(v, "\x80"), (Ids{3 + 0xEF, 3 + 0xBF, 3 + 0xBD}));
  v.tokens[3 + 0xA9] = "other";
  EXPECT_EQ(encode(v, "\xC3\xA9"), (Ids{3 + 0xC3}));
}

TEST(RawUtf8Bpe, RandomTextsComeBack) {
  SmallVocabulary v = SmallVocabulary::gemma4();
  v.add("e");
  v.add("s");
  v.add("\xE2\x96\x81");
  v.merge("e", "s");
  v.merge("\xE2\x96\x81", "es");
  const auto tokenizer = make_tokenizer(v.metadata());
  Noise noise(5);
  for (int i = 0; i < 1000; ++i) {
    std::string text = noise.text(noise.below(60));
    // A written U+2581 comes back as a space.
    for (size_t at; (at = text.find("\xE2\x96\x81")) != std::string::npos;) text.replace(at, 3, "_");
    EXPECT_EQ(tokenizer->decode(tokenizer->encode(text, kPlain), false), text);
  }
}

}  // namespace
}  // namespace stretto
