#include <gtest/gtest.h>

#include <array>

#include "base/error.h"
#include "text/hf/pattern.h"
#include "text/hf/pieces.h"
#include "text/hf/regex_translation.h"

namespace stretto::hf {
namespace {

// The matches of an Oniguruma pattern, '|' between them.
std::string matches(const std::string& regex, std::string_view text) {
  std::vector<MatchRange> ranges;
  Warnings warnings;
  Pattern::regex(regex, "test").find(text, ranges, &warnings);
  EXPECT_TRUE(warnings.empty()) << regex;
  std::string out;
  for (const MatchRange& range : ranges) {
    if (!range.is_match) continue;
    if (!out.empty()) out += '|';
    out += text.substr(range.begin, range.end - range.begin);
  }
  return out;
}

ErrorKind refusal(const std::string& regex) {
  try {
    Pattern::regex(regex, "test.path");
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("test.path"), std::string::npos) << e.what();
    return e.kind();
  }
  ADD_FAILURE() << regex << " is not refused";
  return ErrorKind::kInternal;
}

TEST(HfRegex, WhatMeansSomethingElseInPcre2) {
  EXPECT_EQ(matches(R"(\h+)", "xF0 \tg9"), "F0|9");
  EXPECT_EQ(matches(R"(\H)", "aG"), "G");
  EXPECT_EQ(matches(R"(\v)", "\n\v\r"), "\v");
  EXPECT_EQ(matches(R"(\s+)", "a \xE1\xA0\x8E b"), " | ");  // not U+180E
  EXPECT_EQ(matches(R"(\S)", "\xE1\xA0\x8E "), "\xE1\xA0\x8E");
  EXPECT_EQ(matches(R"(\s+$)", "a \nb  "), " |  ");  // before any newline
  EXPECT_EQ(matches(R"(^b)", "b\nb"), "b|b");
  EXPECT_EQ(matches(R"(a.b)", "a\rb a\nb"), "a\rb");
  EXPECT_EQ(matches(R"((?m:a.b))", "a\nb"), "a\nb");
  EXPECT_EQ(matches(R"((?m)a.b)", "a\nb"), "a\nb");
  EXPECT_EQ(matches(R"(\d{1,2}+)", "12345"), "12345");  // repeats, not possessive
  EXPECT_EQ(matches(R"(\d{2}+)", "12345"), "1234");
  EXPECT_EQ(matches(R"(a{,2}b)", "aaab"), "aab");
  EXPECT_EQ(matches(R"(a?+a)", "aab"), "aa");
  EXPECT_EQ(matches(R"(a*+a)", "aab"), "");
  EXPECT_EQ(matches(R"(a++b)", "aab"), "aab");
  EXPECT_EQ(matches(R"(a+?)", "aa"), "a|a");
  EXPECT_EQ(matches(R"(a{x)", "a{x"), "a{x");
  EXPECT_EQ(matches(R"(\u00e9\x{e8}\x41)",
                    "\xC3\xA9\xC3\xA8"
                    "A"),
            "\xC3\xA9\xC3\xA8"
            "A");
  EXPECT_EQ(matches(R"(\p{Han}+)", "\xE4\xB8\xAD\xE3\x80\x81\xE3\x83\xBC"), "\xE4\xB8\xAD");  // Script only
  EXPECT_EQ(matches(R"(\bfoo\b)", "foo _foo foo-"), "foo|foo");
  EXPECT_EQ(matches(R"(o\B)", "foo"), "o");
  EXPECT_EQ(matches(R"(a(?i)b|c)", "aB aC c"), "aB|aC");  // the option takes the alternatives along
  EXPECT_EQ(matches(R"((?i:'s|'t|'re|'ve|'m|'ll|'d))", "'S'Re'lL'x'\xC5\xBF"), "'S|'Re|'lL|'\xC5\xBF");
  EXPECT_EQ(matches(R"((?i:[sdmt]|ll)x(?-i:y))", "Sxy LLxy sXY"), "Sxy|LLxy");
}

TEST(HfRegex, Classes) {
  EXPECT_EQ(matches("[a[bc]]+", "abcd"), "abc");
  EXPECT_EQ(matches("[a-z&&[^aeiou]]+", "hello world"), "h|ll|w|rld");
  EXPECT_EQ(matches("[^a-z&&[^aeiou]]+", "hello!"), "e|o!");
  EXPECT_EQ(matches("[^\\S\\n]+", " \n\t"), " |\t");
  EXPECT_EQ(matches("[^\\P{L}x]+", "abxc1"), "ab|c");
  EXPECT_EQ(matches("[\\]\\[\\-a]+", "]-[ab"), "]-[a");
  EXPECT_EQ(matches("[-a]+", "-ab"), "-a");
  EXPECT_EQ(matches("[a-]+", "-ab"), "-a");
  EXPECT_EQ(matches("[\\p{L}-]+", "a-b1"), "a-b");
  EXPECT_EQ(matches("[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+", "^ab[c"), "^ab|[c");
  EXPECT_EQ(matches("[[:digit:][:space:]]+", "1 2a"), "1 2");
  EXPECT_EQ(matches("[[:^digit:]]+", "1 a2"), " a");
  EXPECT_EQ(matches("[[:xdigit:]]+", "fgF0"), "f|F0");
  EXPECT_EQ(matches("[\\b]", "\b"), "\b");
  EXPECT_EQ(matches("[(\\[{]", "x[({"), "[|(|{");
  EXPECT_EQ(matches("[^\\r\\n\\p{L}\\p{N}]?\\p{L}+", " a\nb1c"), " a|b|c");
  EXPECT_EQ(matches("\\p{^L}+", "a12b"), "12");
  EXPECT_EQ(matches("\\P{^L}+", "a12b"), "a|b");
}

TEST(HfRegex, EmptyMatchesCount) {
  std::vector<MatchRange> ranges;
  Pattern::regex("c*", "test").find("abcab", ranges, nullptr);
  std::string shape;
  for (const MatchRange& range : ranges)
    shape += fmt::format("{}-{}{} ", range.begin, range.end, range.is_match ? "m" : "");
  EXPECT_EQ(shape, "0-0m 0-1 1-1m 1-2 2-3m 3-4 4-4m 4-5 5-5m ");
  std::string out;
  Pattern::literal("a").replace("banana", "$1", out, nullptr);
  EXPECT_EQ(out, "b$1n$1n$1");
}

TEST(HfRegex, WhatIsNotSupportedIsRefused) {
  for (const char* regex : {"(a)\\1",       "(?<n>a)\\k<n>", "(?s:a)",
                            "(?x:a)",       "(?#c)a",        "(?~a)",
                            "\\y",          "\\Q",           "\\p{C}",
                            "\\p{Nowhere}", "\\pL",          "(?i:ss)",
                            "(?i:st)",      "(?i:FF)",       "(?i:\xC3\x9F)",
                            "(?i:\\p{Lu})", "(?i:\\w)",      "(?i:[\xC3\xA4-\xC3\xBC])",
                            "[[:punct:]]",  "[[:alpha:]]",   "[]a]",
                            "[a-\\d]",      "[a-c-e]",       "a{3}?",
                            "a{3,1}",       "\\xE9",         "^*",
                            "\\b+",         "(?<=a+)b",      "(?i:\\bx)",
                            "a{99999}"}) {
    EXPECT_EQ(refusal(regex), ErrorKind::kUnsupported) << regex;
  }
  for (const char* regex : {"(a", "a)", "[a", "[b-a]", "*a", "+", "|?", "\\", "[\\", "\\x{}", "\\x{110000}", "\\uD800",
                            "\\u12", "\\p{L", "(?i", "(?", "(?:", "(?=a", "[a&&b"}) {
    EXPECT_EQ(refusal(regex), ErrorKind::kInvalidModel) << regex;
  }
  EXPECT_EQ(refusal(std::string(200, '(') + std::string(200, ')')), ErrorKind::kInvalidModel);
  EXPECT_EQ(refusal(std::string(kMaxPatternBytes + 1, 'a')), ErrorKind::kInvalidModel);
}

// Catastrophic backtracking ends in a warning, and no text is lost.
TEST(HfRegex, RunawayPatternsEnd) {
  const Pattern pattern = Pattern::regex("(a|a|aa)+$", "test.path");
  const std::string text = std::string(4000, 'a') + "b";
  std::vector<MatchRange> ranges;
  Warnings warnings;
  pattern.find(text, ranges, &warnings);
  ASSERT_EQ(warnings.size(), 1u);
  EXPECT_NE(warnings[0].find("test.path"), std::string::npos);
  ASSERT_EQ(ranges.size(), 1u);
  EXPECT_EQ(ranges[0].end, text.size());
  EXPECT_FALSE(ranges[0].is_match);
}

std::string split(const std::vector<MatchRange>& ranges, SplitBehavior behavior) {
  const std::string_view text = "a--b-";
  std::vector<Span> spans;
  append_split(ranges, behavior, {0, 5}, spans);
  std::string out;
  for (const Span span : spans) out += fmt::format("{}|", text.substr(span.begin, span.length));
  return out;
}

TEST(HfPieces, Behaviors) {
  const std::vector<MatchRange> ranges = {{0, 1, false}, {1, 2, true}, {2, 3, true}, {3, 4, false}, {4, 5, true}};
  EXPECT_EQ(split(ranges, SplitBehavior::kIsolated), "a|-|-|b|-|");
  EXPECT_EQ(split(ranges, SplitBehavior::kRemoved), "a|b|");
  EXPECT_EQ(split(ranges, SplitBehavior::kMergedWithPrevious), "a-|-|b-|");
  EXPECT_EQ(split(ranges, SplitBehavior::kMergedWithNext), "a|-|-b|-|");
  EXPECT_EQ(split(ranges, SplitBehavior::kContiguous), "a|--|b|-|");
}

}  // namespace
}  // namespace stretto::hf
