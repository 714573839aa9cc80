// What make_tokenizer() reads from metadata: defaults, flags, special ids, well-known texts, and what it refuses.
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>

#include "base/error.h"
#include "text/small_vocabulary.h"
#include "text/tokenizer.h"

namespace stretto {
namespace {

using Ids = std::vector<int32_t>;

const MetaValue kAbsent{};

std::string key(const char* name) { return std::string("tokenizer.ggml.") + name; }

void expect_error(ErrorKind kind, const std::string& part, const std::function<void()>& action) {
  try {
    action();
    ADD_FAILURE() << "no error; wanted " << part;
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), kind) << error.what();
    EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
  }
}

void expect_refused(const Metadata& metadata, ErrorKind kind, const std::string& part) {
  expect_error(kind, part, [&] { make_tokenizer(metadata); });
}

bool mentions(const std::vector<std::string>& warnings, const std::string& part) {
  return std::any_of(warnings.begin(), warnings.end(),
                     [&](const std::string& w) { return w.find(part) != std::string::npos; });
}

TEST(MakeTokenizer, ModelsWithoutTokenizer) {
  const SmallVocabulary v = SmallVocabulary::byte_level("gpt-2");
  const std::string text = "this model has no tokenizer; use --tokens";
  expect_refused(Metadata(), ErrorKind::kUnsupported, text);
  expect_refused(v.metadata_with(key("model"), MetaValue::string("none")), ErrorKind::kUnsupported, text);
  expect_refused(v.metadata_with(key("model"), MetaValue::string("no_vocab")), ErrorKind::kUnsupported, text);
  for (const char* model : {"bert", "t5", "rwkv", "plamo2", "whitespace", "hybriddna", "x\n"}) {
    expect_refused(v.metadata_with(key("model"), MetaValue::string(model)), ErrorKind::kUnsupported,
                   "supported are gpt2, llama and gemma4");
  }
  expect_refused(v.metadata_with(key("model"), MetaValue::u32(1)), ErrorKind::kInvalidModel, key("model"));
}

TEST(MakeTokenizer, PreTokenizerNames) {
  SmallVocabulary v = SmallVocabulary::byte_level("nonsense-9");
  expect_refused(v.metadata(), ErrorKind::kUnsupported, "'nonsense-9'");
  expect_refused(v.metadata(), ErrorKind::kUnsupported, "--pre NAME");
  EXPECT_EQ(make_tokenizer(v.metadata(), "qwen2")->pre(), "qwen2");
  expect_error(ErrorKind::kBadArgument, "--pre wrong", [&] { make_tokenizer(v.metadata(), "wrong"); });
  v.pre = "";
  const auto unnamed = make_tokenizer(v.metadata());
  EXPECT_EQ(unnamed->pre(), "default");
  EXPECT_TRUE(mentions(unnamed->warnings(), "--pre NAME"));
  EXPECT_TRUE(mentions(make_tokenizer(v.metadata_with(key("pre"), MetaValue::string("")))->warnings(), "--pre NAME"));
  v.pre = "default";
  EXPECT_TRUE(make_tokenizer(v.metadata())->warnings().empty());
  const SmallVocabulary spm = SmallVocabulary::spm();
  EXPECT_TRUE(mentions(make_tokenizer(spm.metadata(), "qwen2")->warnings(), "no effect"));
  EXPECT_EQ(make_tokenizer(spm.metadata())->pre(), "");
  EXPECT_EQ(make_tokenizer(SmallVocabulary::gemma4().metadata())->pre(), "gemma4");
}

TEST(MakeTokenizer, MalformedMetadata) {
  const SmallVocabulary v = SmallVocabulary::byte_level("gpt-2");
  const SmallVocabulary spm = SmallVocabulary::spm();
  const auto invalid = ErrorKind::kInvalidModel;
  expect_refused(v.metadata_with(key("tokens"), kAbsent), invalid, "tokenizer.ggml.tokens is missing");
  expect_refused(v.metadata_with(key("tokens"), MetaValue::strings({})), invalid, "no tokens");
  expect_refused(v.metadata_with(key("tokens"), MetaValue::i32s({1, 2})), invalid, key("tokens"));
  expect_refused(v.metadata_with(key("merges"), kAbsent), invalid, "tokenizer.ggml.merges is missing");
  expect_refused(v.metadata_with(key("merges"), MetaValue::i32s({1, 2})), invalid, key("merges"));
  expect_refused(v.metadata_with(key("merges"), MetaValue::strings({"nospace"})), invalid, "merges[0]");
  expect_refused(v.metadata_with(key("token_type"), MetaValue::i32s({1, 1})), invalid,
                 "tokenizer.ggml.token_type has 2 entries, the vocabulary has 256 tokens");
  expect_refused(v.metadata_with(key("token_type"), MetaValue::strings({"a"})), invalid, key("token_type"));
  expect_refused(v.metadata_with(key("pre"), MetaValue::u32(3)), invalid, key("pre"));
  expect_refused(v.metadata_with(key("add_bos_token"), MetaValue::u32(1)), invalid, key("add_bos_token"));
  expect_refused(v.metadata_with(key("bos_token_id"), MetaValue::string("1")), invalid, key("bos_token_id"));
  expect_refused(v.metadata_with("tokenizer.chat_template", MetaValue::u32(1)), invalid, "tokenizer.chat_template");
  expect_refused(v.metadata_with(key("suppress_tokens"), MetaValue::strings({"a"})), invalid, key("suppress_tokens"));
  expect_refused(spm.metadata_with(key("scores"), kAbsent), invalid, "tokenizer.ggml.scores is missing");
  expect_refused(spm.metadata_with(key("scores"), MetaValue::strings({"a"})), invalid, key("scores"));
}

TEST(MakeTokenizer, SpecialIdsOutsideTheVocabularyAreIgnored) {
  SmallVocabulary v = SmallVocabulary::byte_level("gpt-2");
  for (const int64_t id : {int64_t{256}, int64_t{-1}, int64_t{4294967295}}) {
    const auto t = make_tokenizer(v.metadata_with(key("bos_token_id"), {MetaType::kI64, MetaType::kNull, id}));
    EXPECT_FALSE(t->bos().has_value());
    EXPECT_TRUE(mentions(t->warnings(), "bos_token_id"));
  }
  EXPECT_EQ(make_tokenizer(v.metadata_with(key("bos_token_id"), MetaValue::u32(255)))->bos(), 255);
}

TEST(MakeTokenizer, EveryKindOfSpecialId) {
  SmallVocabulary v = SmallVocabulary::byte_level("gpt-2");
  const char* const names[] = {"bos_token_id",     "eos_token_id",       "eot_token_id",     "eom_token_id",
                               "unknown_token_id", "seperator_token_id", "padding_token_id", "mask_token_id",
                               "fim_pre_token_id", "fim_suf_token_id",   "fim_mid_token_id", "fim_pad_token_id",
                               "fim_rep_token_id", "fim_sep_token_id",   "prefix_token_id",  "suffix_token_id"};
  for (uint32_t i = 0; i < std::size(names); ++i) v.extra.push_back({key(names[i]), MetaValue::u32(i + 1)});
  v.extra.push_back({key("middle_token_id"), MetaValue::u32(17)});
  const auto t = make_tokenizer(v.metadata());
  const SpecialIds& s = t->special();
  const std::optional<int32_t> found[] = {s.bos,        s.eos,     s.eot,      s.eom,          s.unknown,
                                          s.separator,  s.padding, s.mask,     s.fim_prefix,   s.fim_suffix,
                                          s.fim_middle, s.fim_pad, s.fim_repo, s.fim_separator};
  for (int32_t i = 0; i < static_cast<int32_t>(std::size(found)); ++i) EXPECT_EQ(found[i], i + 1);
  EXPECT_EQ(t->eog_ids(), (Ids{2, 3, 4, 12, 13, 14}));
  const auto old = make_tokenizer(v.metadata_with(key("fim_mid_token_id"), kAbsent));
  EXPECT_EQ(old->special().fim_middle, 17);
}

TEST(MakeTokenizer, BosAndEosDefaults) {
  SmallVocabulary v = SmallVocabulary::byte_level("llama-bpe");
  v.extra.push_back({key("bos_token_id"), MetaValue::u32('B')});
  v.extra.push_back({key("eos_token_id"), MetaValue::u32('E')});
  EXPECT_EQ(make_tokenizer(v.metadata())->encode("x"), (Ids{'B', 'x'}));
  EXPECT_EQ(make_tokenizer(v.metadata())->encode("x", {.add_special = false}), (Ids{'x'}));
  EXPECT_EQ(make_tokenizer(v.metadata_with(key("add_bos_token"), MetaValue::boolean(false)))->encode("x"), (Ids{'x'}));
  EXPECT_EQ(make_tokenizer(v.metadata_with(key("add_eos_token"), MetaValue::boolean(true)))->encode("x"),
            (Ids{'B', 'x', 'E'}));
  v.pre = "qwen2";
  EXPECT_EQ(make_tokenizer(v.metadata())->encode("x"), (Ids{'x'}));
  EXPECT_EQ(make_tokenizer(v.metadata_with(key("add_bos_token"), MetaValue::boolean(true)))->encode(""), (Ids{'B'}));
  // Wanted but not there.
  v.pre = "llama-bpe";
  const auto t = make_tokenizer(v.metadata_with(key("bos_token_id"), kAbsent));
  EXPECT_FALSE(t->bos().has_value());
  EXPECT_FALSE(t->adds_bos());
  EXPECT_EQ(t->encode("x"), (Ids{'x'}));
}

TEST(MakeTokenizer, SpmAndGemmaDefaults) {
  const auto spm = make_tokenizer(SmallVocabulary::spm().metadata());
  EXPECT_EQ(spm->bos(), 1);
  EXPECT_EQ(spm->eos(), 2);
  EXPECT_EQ(spm->special().unknown, 0);
  EXPECT_TRUE(spm->adds_bos());
  EXPECT_FALSE(spm->adds_eos());
  const auto gemma =
      make_tokenizer(SmallVocabulary::gemma4().metadata_with(key("add_bos_token"), MetaValue::boolean(false)));
  EXPECT_TRUE(gemma->adds_bos());  // whatever the file says
  EXPECT_EQ(gemma->encode("")[0], 2);
  SmallVocabulary tiny;
  tiny.model = "llama";
  tiny.add("a");
  const auto one = make_tokenizer(tiny.metadata());
  EXPECT_EQ(one->special().unknown, 0);
  EXPECT_FALSE(one->bos().has_value());
}

TEST(MakeTokenizer, EmptyAndRepeatedTexts) {
  SmallVocabulary v = SmallVocabulary::byte_level("gpt-2");
  const int32_t empty = v.add("");
  const int32_t first = v.add("twice");
  const int32_t second = v.add("twice");
  const auto t = make_tokenizer(v.metadata());
  EXPECT_EQ(t->text(empty), "[EMPTY_256]");
  EXPECT_EQ(t->find("[EMPTY_256]"), empty);
  EXPECT_EQ(t->find("twice"), second);
  EXPECT_EQ(t->text(first), "twice");
  EXPECT_TRUE(mentions(t->warnings(), "occur twice"));
  EXPECT_EQ(t->find(""), std::nullopt);
  EXPECT_EQ(t->find("absent"), std::nullopt);
}

TEST(MakeTokenizer, SuppressedTokensAndChatTemplate) {
  const SmallVocabulary v = SmallVocabulary::byte_level("gpt-2");
  const auto t = make_tokenizer(v.metadata_with(key("suppress_tokens"), MetaValue::i32s({5, -1, 256, 7})));
  EXPECT_EQ(t->suppressed(), (Ids{5, 7}));
  EXPECT_FALSE(t->chat_template().has_value());
  Metadata two = v.metadata_with("tokenizer.chat_template", MetaValue::string("plain"));
  EXPECT_EQ(make_tokenizer(two)->chat_template(true), "plain");
  ASSERT_TRUE(two.add("tokenizer.chat_template.tool_use", MetaValue::string("tools")));
  EXPECT_EQ(make_tokenizer(two)->chat_template(true), "tools");
  EXPECT_EQ(make_tokenizer(two)->chat_template(), "plain");
  EXPECT_EQ(make_tokenizer(v.metadata_with("tokenizer.chat_template", MetaValue::string("{{ x }}")))->chat_template(),
            "{{ x }}");
}

TEST(MakeTokenizer, TypesOutsideTheKnownOnesPrintNothing) {
  SmallVocabulary v = SmallVocabulary::byte_level("gpt-2");
  const int32_t a = v.add("unused", 5);
  const int32_t b = v.add("undefined", 0);
  const int32_t c = v.add("unheard", 77);
  const int32_t d = v.add("negative", -3);
  const auto t = make_tokenizer(v.metadata());
  for (const int32_t id : {a, b, c, d}) EXPECT_EQ(t->piece(id, true), "");
  EXPECT_EQ(t->type(c), TokenType::kUndefined);
}

TEST(WellKnownTexts, EndOfGenerationTextsBecomeControl) {
  SmallVocabulary v = SmallVocabulary::byte_level("qwen2");
  Ids ids;
  for (const char* text : {"<|eot_id|>", "<|im_end|>", "<|end|>", "<|return|>", "<|flush|>", "<end_of_turn>",
                           "<|endoftext|>", "<|eom_id|>", "<EOT>", "_<EOT>", "[EOT]", "[EOS]", "<|end_of_text|>",
                           "<end_of_utterance>", "<eos>", "<turn|>", "<｜end▁of▁sentence｜>", "[e~["}) {
    ids.push_back(v.add(text, 1));
  }
  const int32_t other = v.add("<|im_start|>", 1);
  const auto t = make_tokenizer(v.metadata());
  EXPECT_EQ(t->eog_ids(), ids);
  for (const int32_t id : ids) {
    EXPECT_TRUE(t->is_control(id));
    EXPECT_TRUE(t->is_eog(id));
    EXPECT_EQ(t->piece(id, false), "");
    EXPECT_EQ(t->piece(id, true), t->text(id));
  }
  EXPECT_FALSE(t->is_control(other));
  EXPECT_FALSE(t->is_eog(other));
  EXPECT_FALSE(t->is_eog(-1));
  EXPECT_FALSE(t->is_control(100000));
  EXPECT_EQ(t->encode("a<|im_end|>"), (Ids{'a', ids[1]}));
}

TEST(WellKnownTexts, EndOfTurnIsTheFirstOfTheList) {
  SmallVocabulary v = SmallVocabulary::byte_level("qwen2");
  const int32_t text_end = v.add("<|endoftext|>");
  EXPECT_EQ(make_tokenizer(v.metadata())->eot(), text_end);
  const int32_t im_end = v.add("<|im_end|>");
  EXPECT_EQ(make_tokenizer(v.metadata())->eot(), im_end);
  EXPECT_EQ(make_tokenizer(v.metadata_with(key("eot_token_id"), MetaValue::u32(9)))->eot(), 9);
  const int32_t eom = v.add("<|eom_id|>");
  EXPECT_EQ(make_tokenizer(v.metadata())->special().eom, eom);
}

TEST(WellKnownTexts, AnOrdinarySlashSStaysOrdinary) {
  SmallVocabulary v = SmallVocabulary::byte_level("qwen2");
  const int32_t id = v.add("</s>", 1);
  const auto normal = make_tokenizer(v.metadata());
  EXPECT_FALSE(normal->is_eog(id));
  EXPECT_EQ(normal->type(id), TokenType::kNormal);
  EXPECT_EQ(normal->piece(id, false), "</s>");
  v.types[id] = 4;
  const auto promoted = make_tokenizer(v.metadata());
  EXPECT_TRUE(promoted->is_eog(id));
  EXPECT_TRUE(promoted->is_control(id));
}

TEST(WellKnownTexts, ChannelFormats) {
  SmallVocabulary v = SmallVocabulary::byte_level("gpt-4o");
  const int32_t end = v.add("<|end|>", 3);
  const int32_t channel = v.add("<|channel|>", 3);
  v.add("<|return|>", 3);
  EXPECT_TRUE(make_tokenizer(v.metadata())->is_eog(end));
  v.add("<|call|>", 3);
  const auto t = make_tokenizer(v.metadata());
  EXPECT_FALSE(t->is_eog(end));
  EXPECT_EQ(t->type(end), TokenType::kUserDefined);
  EXPECT_EQ(t->type(channel), TokenType::kUserDefined);
  EXPECT_EQ(t->piece(channel, false), "<|channel|>");
  EXPECT_EQ(t->eog_ids().size(), 2u);

  SmallVocabulary other = SmallVocabulary::byte_level("gpt-4o");
  const int32_t other_end = other.add("<|end|>", 3);
  other.add("<|calls|>", 3);
  other.add("<|flush|>", 3);
  EXPECT_FALSE(make_tokenizer(other.metadata())->is_eog(other_end));
}

TEST(WellKnownTexts, ToolResponseTakesSlashSOut) {
  SmallVocabulary v = SmallVocabulary::gemma4();
  const int32_t end = v.add("</s>", 3);
  EXPECT_TRUE(make_tokenizer(v.metadata())->is_eog(end));
  const int32_t tool = v.add("<|tool_response>", 3);
  const auto t = make_tokenizer(v.metadata());
  EXPECT_FALSE(t->is_eog(end));
  EXPECT_EQ(t->type(end), TokenType::kNormal);
  EXPECT_TRUE(t->is_eog(tool));
}

TEST(WellKnownTexts, InfillTextsBecomeControlAndTheirIdsAreKnown) {
  SmallVocabulary v = SmallVocabulary::byte_level("qwen2");
  const int32_t prefix = v.add("<|fim_prefix|>");
  const int32_t suffix = v.add("<fim-suffix>");
  const int32_t middle = v.add("▁<MID>");
  const int32_t pad = v.add("<|fim_pad|>");
  const int32_t repo = v.add("<|repo_name|>");
  const int32_t separator = v.add("<|file_sep|>");
  const auto t = make_tokenizer(v.metadata());
  EXPECT_EQ(t->special().fim_prefix, prefix);
  EXPECT_EQ(t->special().fim_suffix, suffix);
  EXPECT_EQ(t->special().fim_middle, middle);
  for (const int32_t id : {prefix, suffix, middle, pad, repo, separator}) EXPECT_TRUE(t->is_control(id));
  EXPECT_EQ(t->eog_ids(), (Ids{pad, repo, separator}));
  EXPECT_EQ(make_tokenizer(v.metadata_with(key("fim_pre_token_id"), MetaValue::u32(7)))->special().fim_prefix, 7);
}

TEST(WellKnownTexts, Phi3SpecialsSwallowBlanks) {
  SmallVocabulary v = SmallVocabulary::spm();
  const int32_t end = v.add("<|end|>", 3);
  const int32_t user = v.add("<|user|>", 4);
  v.extra.push_back({key("add_space_prefix"), MetaValue::boolean(false)});
  v.extra.push_back({"general.name", MetaValue::string("My PHI-3 mini")});
  const auto phi = make_tokenizer(v.metadata());
  const EncodeOptions options{.add_special = false};
  EXPECT_EQ(phi->encode("<|user|> \n<|end|>\t<s> ", options), (Ids{user, end, 1, 3 + 0xE2, 3 + 0x96, 3 + 0x81}));
  const auto other = make_tokenizer(v.metadata_with("general.name", MetaValue::string("llama")));
  EXPECT_EQ(other->encode("<|end|>\n", options), (Ids{end, 3 + '\n'}));
}

TEST(Tokenizer, WarnsOfTwoBosTokens) {
  const auto t = make_tokenizer(SmallVocabulary::spm().metadata());
  std::vector<std::string> warnings;
  EXPECT_EQ(t->encode("<s>", {.warnings = &warnings}), (Ids{1, 1}));
  EXPECT_TRUE(mentions(warnings, "<s>"));
  warnings.clear();
  t->encode("<s>", {.parse_special = false, .warnings = &warnings});
  t->encode("x<s>", {.warnings = &warnings});
  t->encode("<s>", {.add_special = false, .warnings = &warnings});
  EXPECT_TRUE(warnings.empty());
}

TEST(Tokenizer, DecodeRefusesForeignIds) {
  const auto t = make_tokenizer(SmallVocabulary::spm().metadata());
  for (const int32_t id : {-1, 259, INT32_MAX, INT32_MIN}) {
    expect_error(ErrorKind::kBadArgument, std::to_string(id), [&] { t->decode(Ids{5, id}, true); });
  }
}

TEST(Tokenizer, TextIsLimited) {
  const auto t = make_tokenizer(SmallVocabulary::byte_level("gpt-2").metadata());
  const std::string text((size_t{256} << 20) + 1, 'a');
  expect_error(ErrorKind::kBadArgument, "268435457 bytes", [&] { t->encode(text); });
}

TEST(Tokenizer, ByteTokens) {
  SmallVocabulary v = SmallVocabulary::spm();
  const int32_t odd = v.add("<0x-1>", 6);
  const int32_t lower = v.add("<0xfe>", 6);
  const auto t = make_tokenizer(v.metadata());
  EXPECT_EQ(t->piece(3 + 0xE2, false), "\xE2");
  EXPECT_EQ(t->piece(3, false), std::string(1, '\0'));
  EXPECT_EQ(t->piece(odd, false), "<0x-1>");
  EXPECT_EQ(t->piece(lower, false), "\xFE");
  EXPECT_TRUE(mentions(t->warnings(), "not the form <0xHH>"));
}

}  // namespace
}  // namespace stretto
