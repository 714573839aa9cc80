#include "text/pretokenizer.h"

#include <gtest/gtest.h>

#include <set>

#include "text/cpu_seconds.h"
#include "text/small_vocabulary.h"

namespace stretto {
namespace {

using Pieces = std::vector<std::string>;

Pieces split(const PreTokenizer& pre, const std::string& text, std::vector<std::string>* warnings = nullptr) {
  std::vector<Span> spans;
  pre.split(text, spans, warnings);
  Pieces pieces;
  for (const Span span : spans) pieces.push_back(text.substr(span.begin, span.length));
  return pieces;
}

Pieces split(std::string_view name, const std::string& text) {
  const PreRule* rule = find_pre_rule(name);
  EXPECT_NE(rule, nullptr) << name;
  return split(PreTokenizer(pre_patterns(rule->family)), text);
}

std::vector<std::string> all_names() {
  std::vector<std::string> names;
  const std::string list = known_pre_names();
  for (size_t begin = 0; begin < list.size();) {
    const size_t end = std::min(list.find(", ", begin), list.size());
    names.push_back(list.substr(begin, end - begin));
    begin = end + 2;
  }
  return names;
}

TEST(PreTokenizer, NamesAreUniqueAndKnown) {
  const std::vector<std::string> names = all_names();
  EXPECT_GE(names.size(), 75u);
  for (const std::string& name : names) {
    EXPECT_EQ(std::count(names.begin(), names.end(), name), 1) << name;
    ASSERT_NE(find_pre_rule(name), nullptr) << name;
    EXPECT_EQ(find_pre_rule(name)->name, name);
  }
  EXPECT_EQ(find_pre_rule("nonsense"), nullptr);
  EXPECT_EQ(find_pre_rule(""), nullptr);
}

TEST(PreTokenizer, RulesOfTheFamilies) {
  for (const char* name : {"llama-bpe", "llama3", "llama-v3", "pixtral", "falcon3", "falcon-h1", "midm-2.0", "lfm2",
                           "jina-v5-nano", "tekken"}) {
    EXPECT_TRUE(find_pre_rule(name)->ignore_merges) << name;
    EXPECT_TRUE(find_pre_rule(name)->adds_bos) << name;
  }
  EXPECT_TRUE(find_pre_rule("minicpm5")->ignore_merges);
  EXPECT_FALSE(find_pre_rule("minicpm5")->adds_bos);
  for (const char* name : {"dbrx", "smaug-bpe", "chatglm-bpe", "glm4", "qwen2", "gpt-2", "gpt-4o", "deepseek-v3"}) {
    EXPECT_FALSE(find_pre_rule(name)->ignore_merges) << name;
    EXPECT_FALSE(find_pre_rule(name)->adds_bos) << name;
  }
}

TEST(PreTokenizer, Examples) {
  EXPECT_EQ(split("llama-bpe", "I'll pay 12345 now"), (Pieces{"I", "'ll", " pay", " ", "123", "45", " now"}));
  EXPECT_EQ(split("qwen2", "x12"), (Pieces{"x", "1", "2"}));
  EXPECT_EQ(split("gpt-2", "x 12'S"), (Pieces{"x", " 12", "'", "S"}));
  EXPECT_EQ(split("qwen2", "it'S a\n\n b"), (Pieces{"it", "'S", " a", "\n\n", " b"}));
  EXPECT_EQ(split("starcoder", "a 123"), (Pieces{"a", " ", "1", "2", "3"}));
  EXPECT_EQ(split("falcon", "ab,12345"), (Pieces{"ab", ",", "123", "45"}));
  EXPECT_EQ(split("default", "a+=1234"), (Pieces{"a", "+=", "123", "4"}));
  EXPECT_EQ(split("deepseek-coder", "a b\n\n12"), (Pieces{"a", " b", "\n", "\n", "1", "2"}));
  EXPECT_EQ(split("deepseek-llm", "a b  12  "), (Pieces{"a", " b", "  ", "12", "  "}));
  EXPECT_EQ(split("deepseek-v3", "a.foo =.b 12345"), (Pieces{"a", ".foo", " =.", "b", " ", "123", "45"}));
  EXPECT_EQ(split("tekken", "HelloWorld aB/\n"), (Pieces{"Hello", "World", " a", "B", "/\n"}));
  EXPECT_EQ(split("gpt-4o", "HelloWorld's 1234"), (Pieces{"Hello", "World's", " ", "123", "4"}));
  EXPECT_EQ(split("gemma4", "a b\n\n c"), (Pieces{"a b", "\n\n", " c"}));
  EXPECT_EQ(split("seed-coder", "a!\n\nb"), (Pieces{"a", "!", "\n\n", "b"}));
  EXPECT_EQ(split("bailingmoe", "it'LL\n\nb"), (Pieces{"it", "'LL", "\n\n", "b"}));
  EXPECT_EQ(split("minicpm5", "12345"), (Pieces{"123", "45"}));
  EXPECT_EQ(split("exaone-moe", "a b 1"), (Pieces{"a b", " ", "1"}));
  EXPECT_EQ(split("laguna", "a  \nb"), (Pieces{"a", "  ", "\n", "b"}));
  EXPECT_EQ(split("poro-chat", "one two, 12"), (Pieces{"one", " two", ",", " 12"}));
  EXPECT_EQ(split("viking", "one 12"), (Pieces{"one", " ", "1", "2"}));
  EXPECT_EQ(split("kimi-k2", "Hi\xE4\xB8\xAD\xE6\x96\x87x"), (Pieces{"Hi", "\xE4\xB8\xAD\xE6\x96\x87", "x"}));
}

TEST(PreTokenizer, TrapsOfTheRegexLibrary) {
  // U+180E is no blank although PCRE2's \s contains it.
  EXPECT_EQ(split("gpt-2",
                  "a\xE1\xA0\x8E"
                  "b"),
            (Pieces{"a", "\xE1\xA0\x8E", "b"}));
  EXPECT_EQ(split("gpt-2", " \xE1\xA0\x8E"), (Pieces{" \xE1\xA0\x8E"}));
  // U+017F is no "s" although PCRE2's caseless s matches it.
  EXPECT_EQ(split("llama-bpe", "it'\xC5\xBF"), (Pieces{"it", "'\xC5\xBF"}));
  EXPECT_EQ(split("llama-bpe", "it'Sx"), (Pieces{"it", "'S", "x"}));
  // End of text is not "before a final newline": the blanks before it are no run at the end.
  EXPECT_EQ(split(PreTokenizer({R"([ ]+\z)"}), "a \n"), (Pieces{"a \n"}));
  // A segment is its own subject: the blank at the end of one sees the end of the text.
  EXPECT_EQ(split("starcoder", "a  1"), (Pieces{"a", "  ", "1"}));
  EXPECT_EQ(split("gpt-2", "a  1"), (Pieces{"a", " ", " 1"}));
}

TEST(PreTokenizer, EmptyMatchesCutNothing) {
  EXPECT_EQ(split(PreTokenizer({"b*"}),
                  "a\xC3\xA9"
                  "bba"),
            (Pieces{"a\xC3\xA9", "bb", "a"}));
  EXPECT_EQ(split(PreTokenizer({"x*"}), "\xC3\xA9\xC3\xA9"), (Pieces{"\xC3\xA9\xC3\xA9"}));
  EXPECT_EQ(split(PreTokenizer({"b"}), ""), Pieces{});
}

TEST(PreTokenizer, NothingIsLostWhateverTheText) {
  Noise noise(8);
  std::vector<std::string> texts;
  for (int i = 0; i < 200; ++i) texts.push_back(noise.text(1 + noise.below(80)));
  for (const std::string& name : all_names()) {
    const PreTokenizer pre(pre_patterns(find_pre_rule(name)->family));
    for (const std::string& text : texts) {
      std::string joined;
      for (const std::string& piece : split(pre, text)) {
        EXPECT_FALSE(piece.empty());
        joined += piece;
      }
      EXPECT_EQ(joined, text) << name;
    }
  }
}

TEST(PreTokenizer, TheGuardedBlanksPassEqualsThePlainOne) {
  std::vector<std::string> patterns = pre_patterns(PreFamily::kDeepseekLlm);
  const PreTokenizer guarded(patterns);
  ASSERT_EQ(patterns[3].substr(0, 4), "(?<!");
  patterns[3] = R"([\x09-\x0D\x20\x85\xA0\x{1680}\x{2000}-\x{200A}\x{2028}\x{2029}\x{202F}\x{205F}\x{3000}]+\z)";
  const PreTokenizer plain(patterns);
  Noise noise(9);
  for (int i = 0; i < 5000; ++i) {
    const std::string text = noise.text(noise.below(30));
    EXPECT_EQ(split(guarded, text), split(plain, text));
  }
}

// 300 KB each; a family that scans a run once per character would take minutes.
TEST(PreTokenizer, NoFamilyIsQuadratic) {
  const auto repeat = [](const std::string& s) {
    std::string text;
    while (text.size() < 300000) text += s;
    return text;
  };
  const std::string inputs[] = {repeat(" ") + "1",  repeat("\n") + "x",  repeat("a"),        repeat("A") + "1",
                                repeat("\xCC\x80"), repeat("a "),        repeat("'"),        repeat("\xE4\xB8\xAD"),
                                repeat("1"),        repeat(" \n") + "x", repeat("\t") + "!", repeat("a\xCC\x80")};
  std::set<PreFamily> seen;
  for (const std::string& name : all_names()) {
    if (!seen.insert(find_pre_rule(name)->family).second) continue;
    const PreTokenizer pre(pre_patterns(find_pre_rule(name)->family));
    for (const std::string& text : inputs) {
      const double start = cpu_seconds();
      std::string joined;
      for (const std::string& piece : split(pre, text)) joined += piece;
      EXPECT_EQ(joined, text) << name;
      EXPECT_LT(cpu_seconds() - start, 2.0 * kSlowdown) << name << " on " << text.substr(0, 10);
    }
  }
}

TEST(PreTokenizer, GivingUpKeepsTheRestAsOnePieceAndSaysSo) {
  const PreTokenizer pre({"b|(?:a|a|aa)+c"});
  std::vector<std::string> warnings;
  const std::string hard(200, 'a');
  EXPECT_EQ(split(pre, "xb" + hard, &warnings), (Pieces{"x", "b", hard}));
  ASSERT_EQ(warnings.size(), 1u);
  EXPECT_NE(warnings[0].find("200 bytes"), std::string::npos) << warnings[0];
  EXPECT_EQ(split(pre, "xb" + hard), (Pieces{"x", "b", hard}));
}

}  // namespace
}  // namespace stretto
