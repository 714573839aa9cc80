#include "text/detokenizer.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "checkpoint/utf8.h"
#include "text/small_vocabulary.h"
#include "text/utf8.h"

namespace stretto {
namespace {

const std::string kR(kReplacementCharacter);

TEST(Detokenizer, EveryTwoWaySplitOfMultiByteTexts) {
  const std::string texts[] = {"a\xC3\xA9z", "\xE2\x82\xAC", "\xF0\x9F\x98\x80!", "\xE4\xB8\xAD\xE6\x96\x87",
                               "x\xF0\x90\x90\x80\xCC\x80y"};
  for (const std::string& text : texts) {
    for (size_t cut = 0; cut <= text.size(); ++cut) {
      Detokenizer stream;
      const auto first = stream.push(text.substr(0, cut));
      const auto second = stream.push(text.substr(cut));
      const auto last = stream.finish();
      EXPECT_TRUE(is_valid_utf8(first.text));
      EXPECT_EQ(first.text, first.bytes);
      EXPECT_LE(cut - first.bytes.size(), 3u);
      EXPECT_EQ(first.text + second.text, text) << cut;
      EXPECT_EQ(last.text, "");
    }
  }
}

TEST(Detokenizer, HoldsBackOnlyWhatBytesCouldComplete) {
  Detokenizer stream;
  EXPECT_EQ(stream.push("a").text, "a");
  EXPECT_EQ(stream.push("\xF0").text, "");
  EXPECT_EQ(stream.push("\x9F").text, "");
  EXPECT_EQ(stream.push("\x98").text, "");
  EXPECT_EQ(stream.push("\x80").text, "\xF0\x9F\x98\x80");
  EXPECT_EQ(stream.push("\x80").text, kR);  // cannot become valid: not held
  EXPECT_EQ(stream.push("\xE2").text, "");
  const auto chunk = stream.push("A");
  EXPECT_EQ(chunk.text, kR + "A");
  EXPECT_EQ(chunk.bytes,
            "\xE2"
            "A");
}

TEST(Detokenizer, FinishReplacesEachPendingByte) {
  Detokenizer stream;
  EXPECT_EQ(stream.push("ok\xF0\x9F\x98").text, "ok");
  const auto last = stream.finish();
  EXPECT_EQ(last.bytes, "\xF0\x9F\x98");
  EXPECT_EQ(last.text, kR + kR + kR);
  EXPECT_EQ(stream.finish().text, "");
}

TEST(Detokenizer, RandomBytesInRandomParts) {
  Noise noise(10);
  for (int i = 0; i < 3000; ++i) {
    const std::string bytes = noise.bytes(noise.below(40), 5);
    Detokenizer stream;
    std::string raw;
    std::string text;
    for (size_t at = 0; at < bytes.size();) {
      const size_t n = 1 + noise.below(4);
      const auto chunk = stream.push(std::string_view(bytes).substr(at, n));
      EXPECT_TRUE(is_valid_utf8(chunk.text));
      raw += chunk.bytes;
      text += chunk.text;
      at += n;
    }
    EXPECT_LE(bytes.size() - raw.size(), 3u);
    const auto last = stream.finish();
    EXPECT_TRUE(is_valid_utf8(last.text));
    EXPECT_EQ(raw + last.bytes, bytes);
    if (is_valid_utf8(bytes)) {
      EXPECT_EQ(text + last.text, bytes);
    }
  }
}

struct Outcome {
  std::string shown;
  std::optional<size_t> found;
  bool operator==(const Outcome&) const = default;
};

Outcome feed(const std::vector<std::string>& stops, const std::vector<std::string>& parts) {
  StopMatcher matcher(stops);
  Outcome outcome;
  for (const std::string& part : parts) outcome.shown += matcher.push(part);
  outcome.shown += matcher.finish();
  outcome.found = matcher.found();
  return outcome;
}

TEST(StopMatcher, CutsBeforeTheStopString) {
  EXPECT_EQ(feed({"END"}, {"a", "b", "E", "N", "D", "c"}), (Outcome{"ab", 0}));
  EXPECT_EQ(feed({"END"}, {"abENDc"}), (Outcome{"ab", 0}));
  EXPECT_EQ(feed({"END"}, {"abEN"}), (Outcome{"abEN", std::nullopt}));
  EXPECT_EQ(feed({"x", "END"}, {"abEN", "D"}), (Outcome{"ab", 1}));
  EXPECT_EQ(feed({"aab"}, {"aaab"}), (Outcome{"a", 0}));
  EXPECT_EQ(feed({"abab"}, {"aba", "cabab"}), (Outcome{"abac", 0}));
  EXPECT_EQ(feed({}, {"abc"}), (Outcome{"abc", std::nullopt}));
  EXPECT_EQ(feed({"\xC3\xA9"}, {"caf", "\xC3\xA9"}), (Outcome{"caf", 0}));
}

TEST(StopMatcher, HoldsBackOnlyAPossibleBeginning) {
  StopMatcher matcher({"\n\nUser:", "###"});
  EXPECT_EQ(matcher.push("hello\n"), "hello");
  EXPECT_EQ(matcher.push("world"), "\nworld");
  EXPECT_EQ(matcher.push("\n\nUs"), "");
  EXPECT_EQ(matcher.push("e #"), "\n\nUse ");
  EXPECT_EQ(matcher.push("#"), "");
  EXPECT_EQ(matcher.push("x"), "##x");
  EXPECT_EQ(matcher.push("\n\nUser"), "");
  EXPECT_FALSE(matcher.stopped());
  EXPECT_EQ(matcher.push(": hi"), "");
  EXPECT_TRUE(matcher.stopped());
  EXPECT_EQ(matcher.push("more"), "");
  EXPECT_EQ(matcher.finish(), "");
}

TEST(StopMatcher, TheOneCompleteFirstWinsHoweverTheTextArrives) {
  EXPECT_EQ(feed({"abc", "b"}, {"abc"}), (Outcome{"a", 1}));
  EXPECT_EQ(feed({"abc", "b"}, {"a", "b", "c"}), (Outcome{"a", 1}));
  EXPECT_EQ(feed({"c", "abc"}, {"xabc"}), (Outcome{"x", 1}));  // same end: the longest
}

// Searches the whole text at once: the earliest end, then the earliest start.
Outcome find_by_definition(const std::vector<std::string>& stops, const std::string& text) {
  for (size_t end = 1; end <= text.size(); ++end) {
    Outcome best{text, std::nullopt};
    size_t longest = 0;
    for (size_t i = 0; i < stops.size(); ++i) {
      const size_t n = stops[i].size();
      if (n > end || n <= longest || text.compare(end - n, n, stops[i]) != 0) continue;
      longest = n;
      best = {text.substr(0, end - n), i};
    }
    if (best.found) return best;
  }
  return {text, std::nullopt};
}

TEST(StopMatcher, AgreesWithASearchOfTheWholeText) {
  Noise noise(11);
  const auto word = [&](size_t length) {
    std::string s;
    while (s.size() < length) s.push_back("ab"[noise.below(2)]);
    return s;
  };
  for (int i = 0; i < 20000; ++i) {
    std::vector<std::string> stops;
    for (uint32_t n = 1 + noise.below(3); stops.size() < n;) stops.push_back(word(1 + noise.below(6)));
    const std::string text = word(noise.below(30));
    std::vector<std::string> parts;
    for (size_t at = 0; at < text.size();) {
      parts.push_back(text.substr(at, 1 + noise.below(5)));
      at += parts.back().size();
    }
    EXPECT_EQ(feed(stops, parts), find_by_definition(stops, text)) << text;
  }
}

TEST(StopMatcher, EmptyStopStringIsRefused) { EXPECT_THROW(StopMatcher({"a", ""}), Error); }

}  // namespace
}  // namespace stretto
