#include <gtest/gtest.h>

#include <algorithm>

#include "base/error.h"
#include "text/hf/characters.h"
#include "text/hf/normal_form.h"
#include "text/hf/normalizer.h"
#include "text/hf/pattern.h"
#include "text/hf_files.h"
#include "text/utf8.h"

namespace stretto::hf {
namespace {

constexpr char32_t kCodePoints = 0x110000;

bool is_surrogate(char32_t c) { return c >= 0xD800 && c < 0xE000; }

// [code point] -> member, from a list of [first, last].
std::vector<bool> members(const Json& ranges) {
  std::vector<bool> set(kCodePoints);
  for (const Json& range : ranges) {
    for (auto c = range[0].get<uint32_t>(); c <= range[1].get<uint32_t>(); ++c) set[c] = true;
  }
  return set;
}

std::string first_difference(const std::vector<bool>& have, const std::vector<bool>& want) {
  std::string out;
  size_t n = 0;
  for (char32_t c = 0; c < kCodePoints; ++c) {
    if (is_surrogate(c) || have[c] == want[c]) continue;
    if (++n <= 8) out += fmt::format(" U+{:04X}", static_cast<uint32_t>(c));
  }
  return n == 0 ? "" : fmt::format("{} code points:{}", n, out);
}

std::vector<bool> members_of(bool (*contains)(char32_t)) {
  std::vector<bool> set(kCodePoints);
  for (char32_t c = 0; c < kCodePoints; ++c) set[c] = contains(c);
  return set;
}

// What a pattern of one character matches in a text of all characters.
std::vector<bool> matches_of(const std::string& regex, const std::string& all) {
  std::vector<bool> set(kCodePoints);
  std::vector<MatchRange> ranges;
  Warnings warnings;
  Pattern::regex(regex, "test").find(all, ranges, &warnings);
  EXPECT_TRUE(warnings.empty());
  for (const MatchRange& range : ranges) {
    if (!range.is_match) continue;
    const size_t length = utf8_length_at(all, range.begin);
    EXPECT_EQ(length, range.end - range.begin);
    set[utf8_code_point(all, range.begin, length)] = true;
  }
  return set;
}

TEST(HfUnicode, RegexClassesAreThoseOfTheLibrary) {
  std::string all;
  for (char32_t c = 0; c < kCodePoints; ++c) {
    if (!is_surrogate(c)) append_utf8(all, c);
  }
  const Json classes = parse_tokjson("unicode_classes.json").at("regex");
  size_t n_refused = 0;
  for (const auto& [regex, ranges] : classes.items()) {
    SCOPED_TRACE(regex);
    if (regex == "\\p{C}" || regex == "\\p{Cn}") {  // no additions known
      EXPECT_THROW(Pattern::regex(regex, "test"), Error);
      ++n_refused;
      continue;
    }
    EXPECT_EQ(first_difference(matches_of(regex, all), members(ranges)), "");
    if (regex[0] != '\\') continue;
    const std::vector<bool> complement = matches_of("[^" + regex + "]", all);
    std::vector<bool> want = members(ranges);
    want.flip();
    EXPECT_EQ(first_difference(complement, want), "");
  }
  EXPECT_EQ(n_refused, 2u);
  EXPECT_GE(classes.size(), 20u);
}

TEST(HfUnicode, BuiltInClassesAreThoseOfTheLibrary) {
  const Json classes = parse_tokjson("unicode_classes.json");
  const Json& builtin = classes.at("builtin");
  EXPECT_EQ(first_difference(members_of(is_white_space), members(builtin.at("WhitespaceSplit"))), "");
  EXPECT_EQ(first_difference(members_of(is_punctuation), members(builtin.at("Punctuation"))), "");
  EXPECT_EQ(first_difference(members_of(is_numeric), members(builtin.at("Digits"))), "");
  std::vector<bool> word = members(classes.at("regex").at("\\w"));
  for (const char32_t c : {0xB2, 0xB3, 0xB9, 0xBC, 0xBD, 0xBE}) word[c] = false;
  word[0x200C] = word[0x200D] = true;
  EXPECT_EQ(first_difference(members_of(is_word), word), "");
}

// Measured with StripAccents of tokenizers 0.23.2: "a" + c is "a" for 2097 code points.
TEST(HfUnicode, StripAccentsKnowsTheMarksOfAnOlderUnicode) {
  const std::vector<bool> stripped = members_of(is_combining_mark);
  EXPECT_EQ(std::count(stripped.begin(), stripped.end(), true), 2097);
  for (const char32_t c : {0x300, 0x36F, 0x903, 0x1CF2, 0x20D0, 0x1E94A, 0xE01EF}) EXPECT_TRUE(stripped[c]) << +c;
  for (const char32_t c : {0x7FD, 0x897, 0x1AC0, 0x1CF7, 0x111C9, 0x16FF1, 0x1E4EF}) EXPECT_FALSE(stripped[c]) << +c;
  std::vector<bool> marks = members(parse_tokjson("unicode_classes.json").at("regex").at("\\p{M}"));
  marks[0x1CF2] = marks[0x1CF3] = true;  // letters since Unicode 12
  for (char32_t c = 0; c < kCodePoints; ++c) EXPECT_LE(stripped[c], marks[c]) << +c;
}

TEST(HfUnicode, AdditionsAreThoseOfTheData) {
  const Json delta = parse_tokjson("unicode_delta.json").at("delta");
  EXPECT_EQ(delta.size(), 11u);
  for (const auto& [property, ranges] : delta.items()) {
    ASSERT_TRUE(added_to_property(property)) << property;
    EXPECT_EQ(*added_to_property(property), ranges.get<std::string>()) << property;
  }
  EXPECT_FALSE(added_to_property("Cn"));
}

std::string normal_form(NormalForm form, std::string_view text) {
  std::string out = "old";
  to_normal_form(form, text, out);
  return out;
}

TEST(HfUnicode, NormalForms) {
  EXPECT_EQ(normal_form(NormalForm::kNfc, "plain"), "plain");
  EXPECT_EQ(normal_form(NormalForm::kNfc, ""), "");
  EXPECT_EQ(normal_form(NormalForm::kNfc, "xe\xCC\x81y"), "x\xC3\xA9y");
  EXPECT_EQ(normal_form(NormalForm::kNfd, "x\xC3\xA9"), "xe\xCC\x81");
  EXPECT_EQ(normal_form(NormalForm::kNfc, "\xC3\xA9"), "\xC3\xA9");
  EXPECT_EQ(normal_form(NormalForm::kNfc, "\xEF\xAC\x81"), "\xEF\xAC\x81");  // U+FB01 is only a compatibility form
  EXPECT_EQ(normal_form(NormalForm::kNfkc, "\xEF\xAC\x81"), "fi");
  EXPECT_EQ(normal_form(NormalForm::kNfkd, "\xE2\x84\xAB"), "A\xCC\x8A");                            // U+212B
  EXPECT_EQ(normal_form(NormalForm::kNfd, "\xEA\xB0\x81"), "\xE1\x84\x80\xE1\x85\xA1\xE1\x86\xA8");  // Hangul
  EXPECT_EQ(normal_form(NormalForm::kNfc, "\xE1\x84\x80\xE1\x85\xA1\xE1\x86\xA8"), "\xEA\xB0\x81");
  // U+0301 (class 230) before U+0323 (class 220): ordered by class, then composed.
  EXPECT_EQ(normal_form(NormalForm::kNfc, "a\xCC\x81\xCC\xA3"), "\xE1\xBA\xA1\xCC\x81");
  EXPECT_EQ(normal_form(NormalForm::kNfd, "a\xCC\x81\xCC\xA3 b"), "a\xCC\xA3\xCC\x81 b");
}

// 300,000 marks in the worst order: quadratic work would take minutes.
TEST(HfUnicode, NormalFormOfManyMarksIsFast) {
  std::string text = "a";
  for (int i = 0; i < 150000; ++i) text += "\xCC\x81\xCC\xA3";
  const std::string out = normal_form(NormalForm::kNfd, text);
  EXPECT_EQ(out.size(), text.size());
  EXPECT_EQ(out.substr(0, 5), "a\xCC\xA3\xCC\xA3");
}

TEST(HfUnicode, LowerCase) {
  const auto lower = [](std::string text) {
    Warnings warnings;
    const Normalizer normalizer(Json{{"type", "Lowercase"}}, "n", warnings);
    normalizer.apply(text, nullptr);
    return text;
  };
  EXPECT_EQ(lower("\xCE\x9F\xCE\xA3 \xCE\xA3"),
            parse_tokjson("unicode_classes.json").at("builtin").at("Lowercase_final_sigma").get<std::string>());
  EXPECT_EQ(lower("AbZ\xC3\x89"), "abz\xC3\xA9");
  EXPECT_EQ(lower("\xC4\xB0"), "i\xCC\x87");
  EXPECT_EQ(lower("\xE1\xB2\x89"), "\xE1\xB2\x8A");  // U+1C89, new in Unicode 16
}

}  // namespace
}  // namespace stretto::hf
