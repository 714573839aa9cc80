#include "text/hf/source.h"

#include <algorithm>

#include "base/error.h"
#include "checkpoint/utf8.h"

namespace stretto::hf {
namespace {

constexpr std::string_view kLlama3Regex =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kQwen2Regex =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kTekkenRegex =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|)"
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|)"
    R"(\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

constexpr size_t kMistralRegexVocabulary = 100'000;

bool begins_with(std::string_view text, std::string_view prefix) { return text.substr(0, prefix.size()) == prefix; }

Json byte_level(bool use_regex) {
  return {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", false}, {"use_regex", use_regex}};
}

// The rest of a tokenizer.json for a vocabulary that comes without one.
Json pipeline_of(std::string_view model_type) {
  Json root = {{"model", {{"type", "BPE"}}}, {"decoder", byte_level(true)}};
  if (begins_with(model_type, "qwen2") || begins_with(model_type, "qwen3")) {
    const Json split = {{"type", "Split"},
                        {"pattern", {{"Regex", std::string(kQwen2Regex)}}},
                        {"behavior", "Isolated"},
                        {"invert", false}};
    root["normalizer"] = {{"type", "NFC"}};
    root["pre_tokenizer"] = {{"type", "Sequence"}, {"pretokenizers", Json::array({split, byte_level(false)})}};
  } else {
    root["pre_tokenizer"] = byte_level(true);
  }
  return root;
}

// The expression of the first Split of a pre-tokenizer, or null. Structure is checked elsewhere.
Json* first_split_regex(Json& step) {
  if (!step.is_object()) return nullptr;
  if (const auto items = step.find("pretokenizers"); items != step.end() && items->is_array()) {
    return items->empty() ? nullptr : first_split_regex((*items)[0]);
  }
  const auto pattern = step.find("pattern");
  if (pattern == step.end() || !pattern->is_object()) return nullptr;
  const auto regex = pattern->find("Regex");
  return regex == pattern->end() || !regex->is_string() ? nullptr : &*regex;
}

bool may_have_wrong_regex(const SideFiles& side, const BpeData& bpe) {
  const auto family = [&](std::string_view prefix) { return begins_with(side.model_type, prefix); };
  return (family("mistral") || family("ministral") || family("voxtral") || family("pixtral")) &&
         bpe.texts.size() > kMistralRegexVocabulary && !side.transformers_version.empty() &&
         side.transformers_version[0] < '5' && side.transformers_version.substr(1, 1) == ".";
}

}  // namespace

TokenizerJson load_source(const HfTokenizerFiles& files, const SideFiles& side, Warnings& warnings) {
  if (files.tokenizer_json) return parse_tokenizer_json(*files.tokenizer_json, "tokenizer.json");
  if (!has_hf_tokenizer(files)) {
    fail(ErrorKind::kNotFound,
         "the model has none of tokenizer.json, vocab.json with merges.txt, tokenizer.model and tekken.json; use "
         "--tokens to give token ids");
  }
  TokenizerJson source;
  source.bpe = parse_vocab_and_merges(*files.vocab_json, *files.merges_txt);
  source.root = pipeline_of(side.model_type);
  warnings.push_back(fmt::format(
      "there is no tokenizer.json: vocab.json and merges.txt are read with the pipeline of {}, special tokens only as "
      "far as the other files name them",
      source.root.contains("normalizer") ? "Qwen2" : "GPT-2"));
  return source;
}

void check_mistral_regex(TokenizerJson& source, const SideFiles& side, bool fix, Warnings& warnings) {
  const auto pre = source.root.is_object() ? source.root.find("pre_tokenizer") : source.root.end();
  Json* regex = pre == source.root.end() ? nullptr : first_split_regex(*pre);
  if (fix) {
    if (regex == nullptr) {
      fail(ErrorKind::kBadArgument, "--fix-mistral-regex: this tokenizer does not begin with a Split by an expression");
    }
    *regex = std::string(kTekkenRegex);
    return;
  }
  if (regex == nullptr || !may_have_wrong_regex(side, source.bpe)) return;
  if (regex->get_ref<const std::string&>() != kLlama3Regex) return;
  warnings.push_back(
      "tokenizer.json of this Mistral model carries the expression of Llama 3, which its publisher calls a mistake; it "
      "is used as it is, --fix-mistral-regex replaces it");
}

}  // namespace stretto::hf
