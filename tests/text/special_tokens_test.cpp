#include "text/special_tokens.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <list>

#include "base/error.h"
#include "text/cpu_seconds.h"
#include "text/small_vocabulary.h"
#include "text/tokenizer.h"

namespace stretto {
namespace {

constexpr TokenType kControl = TokenType::kControl;
constexpr TokenType kUserDefined = TokenType::kUserDefined;
constexpr TokenType kUnknown = TokenType::kUnknown;
constexpr TokenType kNormal = TokenType::kNormal;

TokenTable table_of(const std::vector<std::pair<std::string, TokenType>>& tokens) {
  std::vector<std::string> texts;
  std::vector<TokenType> types;
  for (const auto& [text, type] : tokens) {
    texts.push_back(text);
    types.push_back(type);
  }
  TokenTable table;
  table.vocabulary = Vocabulary(texts, types);
  return table;
}

// "raw|<id>|raw"
std::string cut(const TokenTable& table, std::string_view text, bool parse_special = true) {
  std::string out;
  for (const Fragment& f : SpecialTokens(table).partition(text, parse_special)) {
    if (!out.empty()) out += "|";
    out += f.id >= 0 ? "<" + std::to_string(f.id) + ">" : std::string(text.substr(f.begin, f.end - f.begin));
  }
  return out;
}

TEST(SpecialTokens, LongerTokensClaimTheirTextFirst) {
  const TokenTable table = table_of({{"ab", kControl}, {"bcd", kControl}});
  EXPECT_EQ(cut(table, "abcd"), "a|<1>");
  EXPECT_EQ(cut(table, "abc"), "<0>|c");
  EXPECT_EQ(cut(table, "ababcd"), "<0>|a|<1>");
  EXPECT_EQ(cut(table, "xbcdx"), "x|<1>|x");
}

TEST(SpecialTokens, LeftmostOccurrencesOfOneToken) {
  const TokenTable table = table_of({{"aa", kControl}});
  EXPECT_EQ(cut(table, "aaa"), "<0>|a");
  EXPECT_EQ(cut(table, "aaaa"), "<0>|<0>");
  EXPECT_EQ(cut(table, "baaab"), "b|<0>|ab");
}

TEST(SpecialTokens, OfEqualTextsTheLowerIdOfTheKindAsked) {
  const TokenTable table = table_of({{"<x>", kNormal}, {"<x>", kControl}, {"<x>", kUserDefined}});
  EXPECT_EQ(cut(table, "a<x>", true), "a|<1>");
  EXPECT_EQ(cut(table, "a<x>", false), "a|<2>");
}

TEST(SpecialTokens, WithoutParsingOnlyUserDefinedOnes) {
  const TokenTable table = table_of({{"<c>", kControl}, {"<u>", kUserDefined}, {"<k>", kUnknown}, {"<n>", kNormal}});
  EXPECT_EQ(cut(table, "<c><u><k><n>", true), "<0>|<1>|<2>|<n>");
  EXPECT_EQ(cut(table, "<c><u><k><n>", false), "<c>|<1>|<k><n>");
  EXPECT_EQ(cut(table, "", true), "");
}

TEST(SpecialTokens, SwallowedBlanksBelongToNobody) {
  TokenTable table = table_of({{"<a>", kControl}, {"<b>", kControl}, {"\n\n", kUserDefined}});
  table.swallows_whitespace = {true, false, false};
  EXPECT_EQ(cut(table, "<a> \t\n\v\f\rx <b> y"), "<0>|x |<1>| y");
  EXPECT_EQ(cut(table, "<a>   "), "<0>");
  EXPECT_EQ(cut(table, "<a> <a>"), "<0>|<0>");
  EXPECT_EQ(cut(table, "<a> \n\nx"), "<0>|x");             // the shorter "\n\n" comes after <a> took the blanks
  EXPECT_EQ(cut(table, "<a>\xC2\xA0x"), "<0>|\xC2\xA0x");  // ASCII blanks only
}

TEST(SpecialTokens, MatchesRawBytesAcrossCharacters) {
  const TokenTable table = table_of({{"\xA9", kControl}});
  EXPECT_EQ(cut(table, "\xC3\xA9"), "\xC3|<0>");
}

// Section "Special-token partitioning", word by word: each candidate in turn over a list of fragments.
std::string cut_by_definition(const TokenTable& table, std::string_view text, bool parse_special) {
  const Vocabulary& v = table.vocabulary;
  std::vector<int32_t> order;
  for (int32_t id = 0; id < v.size(); ++id) {
    if (v.type(id) == kUserDefined || (parse_special && (v.type(id) == kControl || v.type(id) == kUnknown))) {
      order.push_back(id);
    }
  }
  std::stable_sort(order.begin(), order.end(),
                   [&](int32_t a, int32_t b) { return v.text(a).size() > v.text(b).size(); });
  std::list<std::pair<int32_t, std::string>> fragments;
  if (!text.empty()) fragments.emplace_back(-1, text);
  for (const int32_t id : order) {
    for (auto f = fragments.begin(); f != fragments.end(); ++f) {
      if (f->first >= 0) continue;
      std::string rest = f->second;
      std::list<std::pair<int32_t, std::string>> parts;
      for (size_t at; (at = rest.find(v.text(id))) != std::string::npos;) {
        if (at > 0) parts.emplace_back(-1, rest.substr(0, at));
        parts.emplace_back(id, "");
        rest = rest.substr(at + v.text(id).size());
        if (!table.swallows_whitespace.empty() && table.swallows_whitespace[id]) {
          rest.erase(0, std::min(rest.find_first_not_of(" \t\n\v\f\r"), rest.size()));
        }
      }
      if (!rest.empty()) parts.emplace_back(-1, rest);
      fragments.splice(f, parts);
      f = std::prev(fragments.erase(f));
    }
  }
  std::string out;
  for (const auto& [id, raw] : fragments) {
    if (!out.empty()) out += "|";
    out += id >= 0 ? "<" + std::to_string(id) + ">" : raw;
  }
  return out;
}

TEST(SpecialTokens, AgreesWithTheDefinitionOnRandomTokens) {
  Noise noise(7);
  const auto word = [&](size_t length) {
    std::string s;
    while (s.size() < length) s.push_back("abc "[noise.below(4)]);
    return s;
  };
  for (int round = 0; round < 400; ++round) {
    std::vector<std::pair<std::string, TokenType>> tokens;
    for (uint32_t i = 0; i < 2 + noise.below(8); ++i) {
      tokens.emplace_back(word(1 + noise.below(4)), static_cast<TokenType>(1 + noise.below(4)));
    }
    TokenTable table = table_of(tokens);
    for (size_t i = 0; i < tokens.size(); ++i) table.swallows_whitespace.push_back(noise.below(4) == 0);
    for (int i = 0; i < 20; ++i) {
      const std::string text = word(noise.below(40));
      for (const bool parse : {false, true}) {
        EXPECT_EQ(cut(table, text, parse), cut_by_definition(table, text, parse)) << "'" << text << "'";
      }
    }
  }
}

TEST(SpecialTokens, MoreThanFourMebibytesOfThemAreRefused) {
  const std::string half(size_t{2} << 20, 'x');
  EXPECT_EQ(cut(table_of({{half, kControl}, {half.substr(1) + "y", kControl}}), "x"), "x");
  EXPECT_THROW(SpecialTokens(table_of({{half, kControl}, {half + "y", kControl}})), Error);
}

TEST(SpecialTokens, AThousandTokensDoNotSlowDownALongText) {
  std::vector<std::pair<std::string, TokenType>> tokens;
  for (int i = 0; i < 1000; ++i) tokens.emplace_back("<|reserved_special_token_" + std::to_string(i) + "|>", kControl);
  const TokenTable table = table_of(tokens);
  const SpecialTokens special(table);
  std::string text;
  while (text.size() < (1 << 20)) text += "if (a <| b || c <|reserved_special) x <y> ";
  const double start = cpu_seconds();
  for (int i = 0; i < 10; ++i) EXPECT_EQ(special.partition(text, true).size(), 1u);
  EXPECT_LT(cpu_seconds() - start, 2.0 * kSlowdown);
  text.insert(text.size() / 2, "<|reserved_special_token_999|>");
  const std::vector<Fragment> fragments = special.partition(text, true);
  ASSERT_EQ(fragments.size(), 3u);
  EXPECT_EQ(fragments[1].id, 999);
}

}  // namespace
}  // namespace stretto
