// The pre-tokenizer names found in model files and the regular expressions they stand for.
//
// Written for PCRE2 with UTF and UCP. Three things differ from how publishers write the same patterns:
// blanks are the 25 White_Space code points, listed, because PCRE2's \s also contains U+180E; caseless contractions are
// spelled out, because PCRE2's caseless "s" also matches U+017F; "end of text" is \z, because $ also matches before a
// final newline.
#include <fmt/format.h>

#include <algorithm>

#include "base/check.h"
#include "text/pretokenizer.h"

namespace stretto {
namespace {

// Contents of a bracket expression: White_Space.
#define STRETTO_WS R"(\x09-\x0D\x20\x85\xA0\x{1680}\x{2000}-\x{200A}\x{2028}\x{2029}\x{202F}\x{205F}\x{3000})"
#define STRETTO_BLANK "[" STRETTO_WS "]"
#define STRETTO_NOT_BLANK "[^" STRETTO_WS "]"
// English contractions in either case.
#define STRETTO_CONTRACTION R"((?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD]))"
#define STRETTO_BLANK_RUNS "|" STRETTO_BLANK "+(?!" STRETTO_NOT_BLANK ")|" STRETTO_BLANK "+"
#define STRETTO_TAIL "|" STRETTO_BLANK R"(*[\r\n]+)" STRETTO_BLANK_RUNS
// One character that may lead a word.
#define STRETTO_WORD_LEAD R"([^\r\n\p{L}\p{N}]?)"
#define STRETTO_UPPER R"([\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}])"
#define STRETTO_LOWER R"([\p{Ll}\p{Lm}\p{Lo}\p{M}])"
#define STRETTO_PUNCTUATION " ?[^" STRETTO_WS R"(\p{L}\p{N}]+)"

constexpr const char* kGpt2 = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+|)" STRETTO_PUNCTUATION STRETTO_BLANK_RUNS;

constexpr const char* kLlama3 =
    STRETTO_CONTRACTION "|" STRETTO_WORD_LEAD R"(\p{L}+|\p{N}{1,3}|)" STRETTO_PUNCTUATION R"([\r\n]*)" STRETTO_TAIL;

constexpr const char* kQwen2 =
    STRETTO_CONTRACTION "|" STRETTO_WORD_LEAD R"(\p{L}+|\p{N}|)" STRETTO_PUNCTUATION R"([\r\n]*)" STRETTO_TAIL;

// Letters may carry combining marks.
constexpr const char* kQwen35 = STRETTO_CONTRACTION "|" STRETTO_WORD_LEAD R"([\p{L}\p{M}]+|\p{N}| ?[^)" STRETTO_WS
                                                    R"(\p{L}\p{M}\p{N}]+[\r\n]*)" STRETTO_TAIL;

constexpr const char* kNewlineRuns = R"([^\n]+|\n+)";

// Letters with case in the Unicode version the publisher used.
constexpr const char* kDeepseekLetters =
    R"(A-Za-z\x{B5}\x{C0}-\x{D6}\x{D8}-\x{F6}\x{F8}-\x{1BA}\x{1BC}-\x{1BF}\x{1C4}-\x{293}\x{295}-\x{2AF})"
    R"(\x{370}-\x{373}\x{376}\x{377}\x{37B}-\x{37D}\x{37F}\x{386}\x{388}-\x{38A}\x{38C}\x{38E}-\x{3A1})"
    R"(\x{3A3}-\x{3F5}\x{3F7}-\x{481}\x{48A}-\x{52F}\x{531}-\x{556}\x{10A0}-\x{10C5}\x{13A0}-\x{13F5})"
    R"(\x{13F8}-\x{13FD}\x{1C90}-\x{1CBA}\x{1CBD}-\x{1CBF}\x{1D00}-\x{1D2B}\x{1D6B}-\x{1D77})"
    R"(\x{1D79}-\x{1D9A}\x{1E00}-\x{1F15}\x{1F18}-\x{1F1D}\x{1F20}-\x{1F45}\x{1F48}-\x{1F4D})"
    R"(\x{1F50}-\x{1F57}\x{1F59}\x{1F5B}\x{1F5D}\x{1F5F}-\x{1F7D}\x{1F80}-\x{1FB4}\x{1FB6}-\x{1FBC})"
    R"(\x{1FBE}\x{1FC2}-\x{1FC4}\x{1FC6}-\x{1FCC}\x{1FD0}-\x{1FD3}\x{1FD6}-\x{1FDB}\x{1FE0}-\x{1FEC})"
    R"(\x{1FF2}-\x{1FF4}\x{1FF6}-\x{1FFC}\x{2102}\x{2107}\x{210A}-\x{2113}\x{2115}\x{2119}-\x{211D})"
    R"(\x{2124}\x{2126}\x{2128}\x{212A}-\x{212D}\x{212F}-\x{2134}\x{2139}\x{213C}-\x{213F})"
    R"(\x{2145}-\x{2149}\x{214E}\x{2183}\x{2184}\x{2C00}-\x{2C7B}\x{2C7E}-\x{2CE4}\x{2CEB}-\x{2CEE})"
    R"(\x{2CF2}\x{2CF3}\x{A640}-\x{A66D}\x{A680}-\x{A69B}\x{A722}-\x{A76F}\x{A771}-\x{A787})"
    R"(\x{A78B}-\x{A78E}\x{AB70}-\x{ABBF}\x{FB00}-\x{FB06}\x{FB13}-\x{FB17}\x{FF21}-\x{FF3A})"
    R"(\x{FF41}-\x{FF5A}\x{10400}-\x{1044F}\x{104B0}-\x{104D3}\x{104D8}-\x{104FB}\x{10C80}-\x{10CB2})"
    R"(\x{10CC0}-\x{10CF2}\x{118A0}-\x{118DF}\x{1E900}-\x{1E943})";

constexpr const char* kCjkRuns = R"([\x{800}-\x{9FA5}\x{AC00}-\x{D7FF}]+)";

std::vector<std::string> deepseek_coder() {
  return {R"([\r\n])", STRETTO_BLANK R"(?\p{L}+)", STRETTO_BLANK R"(?\p{P}+)", kCjkRuns, R"(\p{N})"};
}

std::vector<std::string> deepseek_llm() {
  return {R"([\r\n])", std::string(STRETTO_BLANK "?[") + kDeepseekLetters + "]+",
          STRETTO_BLANK R"(?[!-/:-~\x{FF01}-\x{FF0F}\x{FF1A}-\x{FF5E}\x{2018}-\x{201F}\x{3000}-\x{3002}]+)",
          // Blanks at the end of the segment. Only the start of a run can begin a match, and saying so keeps a long run
          // in the middle from being scanned once per blank.
          "(?<!" STRETTO_BLANK ")" STRETTO_BLANK R"(++\z)", kCjkRuns, R"(\p{N}+)"};
}

std::vector<std::string> deepseek_v3() {
  return {R"(\p{N}{1,3})", R"([\x{4E00}-\x{9FA5}\x{3040}-\x{309F}\x{30A0}-\x{30FF}]+)",
          R"re([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+)re"
          R"(|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*)" STRETTO_TAIL};
}

std::vector<std::string> tekken() {
  return {STRETTO_WORD_LEAD STRETTO_UPPER "*" STRETTO_LOWER "+|" STRETTO_WORD_LEAD STRETTO_UPPER "+" STRETTO_LOWER
                                          R"(*|\p{N}|)" STRETTO_PUNCTUATION R"([\r\n/]*)" STRETTO_TAIL};
}

std::vector<std::string> gpt4o() {
  return {STRETTO_WORD_LEAD STRETTO_UPPER "*" STRETTO_LOWER "+" STRETTO_CONTRACTION "?|" STRETTO_WORD_LEAD STRETTO_UPPER
                                          "+" STRETTO_LOWER "*" STRETTO_CONTRACTION
                                          R"(?|\p{N}{1,3}|)" STRETTO_PUNCTUATION R"([\r\n/]*)" STRETTO_TAIL};
}

std::vector<std::string> kimi_k2() {
#define STRETTO_UPPER_NOT_HAN R"((?:(?!\p{Han}))" STRETTO_UPPER ")"
#define STRETTO_LOWER_NOT_HAN R"((?:(?!\p{Han}))" STRETTO_LOWER ")"
  return {R"(\p{Han}+|)" STRETTO_WORD_LEAD STRETTO_UPPER_NOT_HAN "*" STRETTO_LOWER_NOT_HAN "+" STRETTO_CONTRACTION
          "?|" STRETTO_WORD_LEAD STRETTO_UPPER_NOT_HAN "+" STRETTO_LOWER_NOT_HAN "*" STRETTO_CONTRACTION
          R"(?|\p{N}{1,3}|)" STRETTO_PUNCTUATION R"([\r\n]*)" STRETTO_TAIL};
}

std::vector<std::string> bailing_moe() {
  return {R"('(?:[sSdDmMtT]|[lL][lL]|[vV][eE]|[rR][eE])|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}|)" STRETTO_PUNCTUATION
          R"(+[\r\n]*|)" STRETTO_BLANK R"(*[\r\n])" STRETTO_BLANK_RUNS};
}

std::vector<std::string> exaone_moe() {
  return {STRETTO_CONTRACTION "|" STRETTO_WORD_LEAD R"((?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}|)" STRETTO_PUNCTUATION
                              R"([\r\n/]?|)" STRETTO_BLANK R"(*[\r\n])" STRETTO_BLANK_RUNS};
}

std::vector<std::string> seed_coder() {
  return {STRETTO_CONTRACTION "|" STRETTO_WORD_LEAD R"(\p{L}+|\p{N}| ?[^)" STRETTO_WS
                              R"(\p{L}\p{N}\r\n]+)" STRETTO_TAIL};
}

std::vector<std::string> mini_cpm5() {
  return {R"(\p{N}{1,3})",
          STRETTO_CONTRACTION "|" STRETTO_WORD_LEAD R"(\p{L}+|\p{N}+|)" STRETTO_PUNCTUATION R"([\r\n]*)" STRETTO_TAIL};
}

constexpr const char* kPoro = R"( ?[^()" STRETTO_WS R"(|.,!?\x{2026}\x{3002}\x{FF0C}\x{3001}\x{964}\x{6D4}\x{60C})]+)";

constexpr const char* kThreeDigits = "[0-9][0-9][0-9]";

constexpr PreRule llama3_rule(std::string_view name) { return {name, PreFamily::kLlama3, true, true, false, false}; }

constexpr PreRule kRules[] = {
    llama3_rule("llama-bpe"),
    llama3_rule("llama3"),
    llama3_rule("llama-v3"),
    llama3_rule("pixtral"),
    llama3_rule("falcon3"),
    llama3_rule("falcon-h1"),
    llama3_rule("midm-2.0"),
    llama3_rule("lfm2"),
    llama3_rule("jina-v5-nano"),
    {"dbrx", PreFamily::kLlama3},
    {"smaug-bpe", PreFamily::kLlama3},
    {"chatglm-bpe", PreFamily::kLlama3},
    {"glm4", PreFamily::kLlama3},
    {"qwen2", PreFamily::kQwen2},
    {"deepseek-r1-qwen", PreFamily::kQwen2},
    {"stablelm2", PreFamily::kQwen2},
    {"hunyuan", PreFamily::kQwen2},
    {"solar-open", PreFamily::kQwen2},
    {"megrez", PreFamily::kQwen2},
    {"kormo", PreFamily::kQwen2},
    {"f2llmv2", PreFamily::kQwen2},
    {"grok-2", PreFamily::kQwen2},
    {"qwen35", PreFamily::kQwen35},
    {"gpt-2", PreFamily::kGpt2},
    {"phi-2", PreFamily::kGpt2},
    {"mpt", PreFamily::kGpt2},
    {"olmo", PreFamily::kGpt2},
    {"jais", PreFamily::kGpt2},
    {"trillion", PreFamily::kGpt2},
    {"granite-docling", PreFamily::kGpt2},
    {"exaone4", PreFamily::kGpt2},
    {"gigachat", PreFamily::kGpt2},
    {"a.x-4.0", PreFamily::kGpt2},
    {"mellum", PreFamily::kGpt2},
    {"modern-bert", PreFamily::kGpt2},
    {"jina-es", PreFamily::kGpt2},
    {"jina-de", PreFamily::kGpt2},
    {"jina-v1-en", PreFamily::kGpt2},
    {"jina-v2-es", PreFamily::kGpt2},
    {"jina-v2-de", PreFamily::kGpt2},
    {"jina-v2-code", PreFamily::kGpt2},
    {"roberta-bpe", PreFamily::kGpt2},
    {"starcoder", PreFamily::kStarcoder},
    {"refact", PreFamily::kStarcoder},
    {"command-r", PreFamily::kStarcoder},
    {"smollm", PreFamily::kStarcoder},
    {"codeshell", PreFamily::kStarcoder},
    {"exaone", PreFamily::kStarcoder},
    {"minerva-7b", PreFamily::kStarcoder},
    {"mellum2", PreFamily::kStarcoder},
    {"falcon", PreFamily::kFalcon},
    {"default", PreFamily::kDefault},
    {"deepseek-coder", PreFamily::kDeepseekCoder},
    {"deepseek-llm", PreFamily::kDeepseekLlm},
    {"deepseek-v3", PreFamily::kDeepseekV3},
    {"joyai-llm", PreFamily::kDeepseekV3},
    {"hunyuan-dense", PreFamily::kDeepseekV3},
    {"tekken", PreFamily::kTekken, true, true, false, false},
    {"gpt-4o", PreFamily::kGpt4o},
    {"llama4", PreFamily::kGpt4o},
    {"kanana2", PreFamily::kGpt4o},
    {"minimax-m2", PreFamily::kGpt4o},
    {"talkie", PreFamily::kGpt4o},
    {"gemma4", PreFamily::kGemma4, false, true, true, true},
    {"granite-embed-multi-311m", PreFamily::kGemma4, false, false, true, true},
    {"sarvam-moe", PreFamily::kGemma4, false, false, true, false},
    {"seed-coder", PreFamily::kSeedCoder},
    {"bailingmoe", PreFamily::kBailingMoe},
    {"bailingmoe2", PreFamily::kBailingMoe},
    {"llada-moe", PreFamily::kBailingMoe},
    {"minicpm5", PreFamily::kMiniCpm5, true, false, false, false},
    {"exaone-moe", PreFamily::kExaoneMoe},
    {"laguna", PreFamily::kLaguna},
    {"poro-chat", PreFamily::kPoro},
    {"bloom", PreFamily::kPoro},
    {"gpt3-finnish", PreFamily::kPoro},
    {"viking", PreFamily::kViking},
    {"kimi-k2", PreFamily::kKimiK2},
};

}  // namespace

const PreRule* find_pre_rule(std::string_view name) {
  const auto* rule =
      std::find_if(std::begin(kRules), std::end(kRules), [&](const PreRule& r) { return r.name == name; });
  return rule == std::end(kRules) ? nullptr : rule;
}

std::string known_pre_names() {
  std::string names;
  for (const PreRule& rule : kRules) {
    if (!names.empty()) names += ", ";
    names += rule.name;
  }
  return names;
}

std::vector<std::string> pre_patterns(PreFamily family) {
  switch (family) {
    case PreFamily::kLlama3:
      return {kLlama3};
    case PreFamily::kQwen2:
      return {kQwen2};
    case PreFamily::kQwen35:
      return {kQwen35};
    case PreFamily::kGpt2:
      return {kGpt2};
    case PreFamily::kStarcoder:
      return {R"(\p{N})", kGpt2};
    case PreFamily::kFalcon:
      return {R"([\p{P}$+<=>^~|`]+)", kGpt2, kThreeDigits};
    case PreFamily::kDefault:
      return {R"([\p{P}$+<=>^~|]+)", kGpt2, R"(\p{N}+)", kThreeDigits};
    case PreFamily::kDeepseekCoder:
      return deepseek_coder();
    case PreFamily::kDeepseekLlm:
      return deepseek_llm();
    case PreFamily::kDeepseekV3:
      return deepseek_v3();
    case PreFamily::kTekken:
      return tekken();
    case PreFamily::kGpt4o:
      return gpt4o();
    case PreFamily::kGemma4:
      return {kNewlineRuns};
    case PreFamily::kSeedCoder:
      return seed_coder();
    case PreFamily::kBailingMoe:
      return bailing_moe();
    case PreFamily::kMiniCpm5:
      return mini_cpm5();
    case PreFamily::kExaoneMoe:
      return exaone_moe();
    case PreFamily::kLaguna:
      return {kNewlineRuns, kQwen2};
    case PreFamily::kPoro:
      return {kPoro};
    case PreFamily::kViking:
      return {kPoro, R"(\p{N})"};
    case PreFamily::kKimiK2:
      return kimi_k2();
  }
  CHECK(false);
  return {};
}

}  // namespace stretto
