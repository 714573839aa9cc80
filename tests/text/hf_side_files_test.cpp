#include <gtest/gtest.h>

#include <algorithm>

#include "base/error.h"
#include "text/hf/side_files.h"
#include "text/hf_files.h"

namespace stretto {
namespace {

using Ids = std::vector<int32_t>;

bool mentions(const std::vector<std::string>& lines, std::string_view what) {
  for (const std::string& line : lines) {
    if (line.find(what) != std::string::npos) return true;
  }
  return false;
}

// Pipelines that HF replaces by those of the class: a trap, not to be followed.
bool is_class_pipeline(std::string_view name) { return name.substr(0, 6) == "class_" || name.substr(0, 6) == "model_"; }

std::string merges_text(const Json& merges) {
  std::string out = "#version: 0.2\n";
  for (const Json& merge : merges) {
    out +=
        merge.is_string() ? merge.get<std::string>() : merge[0].get<std::string>() + " " + merge[1].get<std::string>();
    out += "\r\n";
  }
  return out + "\n";
}

HfTokenizerFiles files_of(const Json& item) {
  HfTokenizerFiles files;
  const std::string name = item.at("name").get<std::string>();
  const std::string pipeline = item.at("pipeline").get<std::string>();
  const std::string tokenizer_json = read_tokjson(pipeline + "/tokenizer.json");
  if (name.substr(0, 12) == "vocab_merges") {
    const Json json = parse_tokjson(pipeline + "/tokenizer.json");
    files.vocab_json = dump_json(json.at("model").at("vocab"));
    files.merges_txt = merges_text(json.at("model").at("merges"));
    files.config_json = dump_json(Json{{"model_type", pipeline}});
  } else {
    files.tokenizer_json = tokenizer_json;
  }
  const std::pair<const char*, std::optional<std::string>*> places[] = {
      {"tokenizer_config.json", &files.tokenizer_config_json},
      {"special_tokens_map.json", &files.special_tokens_map_json},
      {"added_tokens.json", &files.added_tokens_json},
      {"generation_config.json", &files.generation_config_json},
      {"config.json", &files.config_json},
      {"chat_template.jinja", &files.chat_template_jinja},
      {"chat_template.json", &files.chat_template_json}};
  for (const auto& [file, content] : item.at("files").items()) {
    bool placed = false;
    for (const auto& [known, target] : places) {
      if (file != known) continue;
      *target = content.is_string() ? content.get<std::string>() : dump_json(content);
      placed = true;
    }
    EXPECT_TRUE(placed) << file;
  }
  return files;
}

TEST(HfSideFiles, AFileOfItsOwnIsTheTemplateForTools) {
  HfTokenizerFiles files;
  files.tokenizer_config_json =
      R"({"chat_template": [{"name": "tool_use", "template": "old"}, {"name": "default", "template": "plain"}]})";
  const auto source = [&] { return read_hf_chat_templates(files).back(); };
  EXPECT_EQ(source().source, "old");
  files.tool_use_jinja = "new";
  EXPECT_EQ(source().name, "tool_use");
  EXPECT_EQ(source().source, "new");
  EXPECT_EQ(read_hf_chat_templates(files).size(), 2u);
}

void compare_special(const Json& item, const char* key, const std::optional<int32_t>& have) {
  if (item.at(key).is_null()) return;  // what HF does not name may still come from the template or config.json
  EXPECT_EQ(have, item.at(key).get<int32_t>()) << key;
}

void compare_template(const Json& item, const std::vector<HfChatTemplate>& have) {
  const Json& want = item.at("chat_template");
  if (item.at("name") == "template_json_file") {  // HF reads this file for processors only
    ASSERT_EQ(have.size(), 1u);
    EXPECT_EQ(have[0].source, "FROM CHAT_TEMPLATE.JSON");
  } else if (want.is_object()) {
    ASSERT_EQ(have.size(), want.size());
    EXPECT_EQ(have[0].name, "default");
    for (const HfChatTemplate& one : have) EXPECT_EQ(one.source, want.at(one.name).get<std::string>());
  } else if (want.is_string()) {
    ASSERT_EQ(have.size(), 1u);
    EXPECT_EQ(have[0].source, want.get<std::string>());
  } else {
    EXPECT_TRUE(have.empty());
  }
}

TEST(HfSideFiles, AgreeWithTransformers) {
  const Json data = parse_tokjson("side_files.json");
  size_t n_texts = 0;
  size_t n_cases = 0;
  for (const Json& item : data.at("cases")) {
    const std::string name = item.at("name").get<std::string>();
    if (is_class_pipeline(name)) continue;
    SCOPED_TRACE(name);
    ++n_cases;
    const HfTokenizerFiles files = files_of(item);
    const auto tokenizer = make_hf_tokenizer(files);
    for (const auto& [text, ids] : item.at("ids").items()) {
      EXPECT_EQ(tokenizer->encode(text), ids[0].get<Ids>()) << text;
      EXPECT_EQ(tokenizer->encode(text, {.add_special = false}), ids[1].get<Ids>()) << text;
      ++n_texts;
    }
    compare_template(item, read_hf_chat_templates(files));
    if (!files.tokenizer_json) {
      EXPECT_TRUE(mentions(tokenizer->warnings(), "vocab.json"));
      continue;  // the rest are defaults of HF's classes
    }
    compare_special(item, "bos_token_id", tokenizer->bos());
    compare_special(item, "eos_token_id", tokenizer->eos());
    compare_special(item, "pad_token_id", tokenizer->special().padding);
    for (const Json& added : item.at("added")) {
      const int32_t id = added[0].get<int32_t>();
      EXPECT_EQ(tokenizer->text(id), added[1].get<std::string>());
      if (!added[2].get<bool>()) {
        EXPECT_EQ(tokenizer->type(id), TokenType::kUserDefined) << tokenizer->text(id);
      }
    }
  }
  EXPECT_EQ(n_cases, 18u);
  EXPECT_GE(n_texts, 60u);
}

// The flags of every added token, in HF's order [id, content, special, normalized, lstrip, rstrip].
TEST(HfSideFiles, FlagsOfAddedTokens) {
  const Json data = parse_tokjson("side_files.json");
  size_t n = 0;
  for (const Json& item : data.at("cases")) {
    if (is_class_pipeline(item.at("name").get<std::string>())) continue;
    SCOPED_TRACE(item.at("name").get<std::string>());
    const HfTokenizerFiles files = files_of(item);
    if (!files.tokenizer_json) continue;
    hf::Warnings warnings;
    const hf::SideFiles side = hf::read_side_files(files, warnings);
    hf::TokenizerJson source = hf::parse_tokenizer_json(*files.tokenizer_json, "tokenizer.json");
    hf::Fields root(source.root, "tokenizer.json");
    const hf::BpeModel model(source.root.at("model"), std::move(source.bpe), "model", warnings);
    const std::vector<hf::AddedToken> added = hf::collect_added(root, side, model, warnings);
    ASSERT_EQ(added.size(), item.at("added").size());
    for (const Json& want : item.at("added")) {
      const auto token = std::find_if(added.begin(), added.end(),
                                      [&](const hf::AddedToken& t) { return t.id == want[0].get<int32_t>(); });
      ASSERT_NE(token, added.end());
      EXPECT_EQ(token->content, want[1].get<std::string>());
      EXPECT_EQ(token->special, want[2].get<bool>()) << token->content;
      EXPECT_EQ(token->normalized, want[3].get<bool>()) << token->content;
      EXPECT_EQ(token->lstrip, want[4].get<bool>()) << token->content;
      EXPECT_EQ(token->rstrip, want[5].get<bool>()) << token->content;
      ++n;
    }
  }
  EXPECT_GE(n, 90u);
}

HfTokenizerFiles llama3_files() {
  HfTokenizerFiles files;
  files.tokenizer_json = read_tokjson("llama3/tokenizer.json");
  return files;
}

TEST(HfSideFiles, StopIds) {
  HfTokenizerFiles files = llama3_files();
  const auto plain = make_hf_tokenizer(files);
  EXPECT_EQ(plain->eog_ids(), (Ids{906, 907}));  // by their texts
  EXPECT_EQ(plain->eot(), 907);
  EXPECT_EQ(plain->eos(), std::nullopt);
  EXPECT_EQ(plain->bos(), 905);
  EXPECT_TRUE(plain->adds_bos());

  files.config_json = R"({"eos_token_id": [1, 2], "text_config": {"eos_token_id": 9}})";
  EXPECT_EQ(make_hf_tokenizer(files)->eog_ids(), (Ids{1, 2, 906, 907}));
  files.generation_config_json = R"({"eos_token_id": [5, 4, 99999], "suppress_tokens": [7, -1, 8, 99999]})";
  files.tokenizer_config_json = R"({"eos_token": "<|eot_id|>"})";
  const auto t = make_hf_tokenizer(files);
  EXPECT_EQ(t->eog_ids(), (Ids{4, 5, 906, 907}));
  EXPECT_EQ(t->eos(), 907);
  EXPECT_EQ(t->suppressed(), (Ids{7, 8}));
  EXPECT_TRUE(mentions(t->warnings(), "99999"));
  EXPECT_TRUE(mentions(t->warnings(), "stop ids of generation_config.json"));
  files.generation_config_json = R"({"eos_token_id": null})";
  files.config_json = R"({"text_config": {"eos_token_id": 9}})";
  EXPECT_EQ(make_hf_tokenizer(files)->eog_ids(), (Ids{9, 906, 907}));
}

TEST(HfSideFiles, BosCanBeForced) {
  HfTokenizerFiles files = llama3_files();
  const Ids with = {905, 87};
  const Ids without = {87};
  EXPECT_EQ(make_hf_tokenizer(files)->encode("x"), with);
  const auto off = make_hf_tokenizer(files, {.add_bos = false});
  EXPECT_EQ(off->encode("x"), without);
  EXPECT_FALSE(off->adds_bos());
  EXPECT_EQ(make_hf_tokenizer(files, {.add_bos = true})->encode("x"), with);

  files.tokenizer_json = read_tokjson("deepseek_v3/tokenizer.json");
  EXPECT_THROW(make_hf_tokenizer(files, {.add_bos = true}), Error);
  files.tokenizer_config_json = R"({"add_bos_token": true, "bos_token": {"content": "<｜begin▁of▁sentence｜>"}})";
  const auto file = make_hf_tokenizer(files);
  EXPECT_EQ(file->encode("x"), without);
  EXPECT_EQ(file->bos(), 900);
  EXPECT_TRUE(mentions(file->warnings(), "--add-bos on"));
  const auto on = make_hf_tokenizer(files, {.add_bos = true});
  EXPECT_EQ(on->encode("x"), (Ids{900, 87}));
  EXPECT_TRUE(on->adds_bos());
}

TEST(HfSideFiles, TemplateAddsEos) {
  HfTokenizerFiles files;
  files.tokenizer_json = read_tokjson("metaspace_always_split/tokenizer.json");
  const auto t = make_hf_tokenizer(files);
  EXPECT_TRUE(t->adds_bos());
  EXPECT_TRUE(t->adds_eos());
  EXPECT_EQ(t->eos(), 2);
  EXPECT_EQ(t->encode("").front(), 1);
  EXPECT_EQ(t->encode("").back(), 2);
}

TEST(HfSideFiles, TokensBeyondTheModelsRows) {
  HfTokenizerFiles files = llama3_files();
  files.config_json = R"({"vocab_size": 908})";
  EXPECT_TRUE(mentions(make_hf_tokenizer(files)->warnings(), "908 rows"));  // tokenizer.json has ids up to 910
  files.config_json = R"({"vocab_size": 911})";
  files.tokenizer_config_json = R"({"extra_special_tokens": {"x_token": "<new>"}})";
  try {
    make_hf_tokenizer(files);
    ADD_FAILURE();
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::kInvalidModel);
    EXPECT_NE(std::string(e.what()).find("911"), std::string::npos) << e.what();
  }
}

TEST(HfSideFiles, MistralRegex) {
  HfTokenizerFiles files = llama3_files();
  const auto plain = make_hf_tokenizer(files);
  const auto fixed = make_hf_tokenizer(files, {.fix_mistral_regex = true});
  HfTokenizerFiles tekken;
  tekken.tokenizer_json = read_tokjson("tekken/tokenizer.json");
  const std::string text = "helloWORLD 1234";
  EXPECT_NE(plain->encode(text), fixed->encode(text));
  HfTokenizerFiles none;
  none.tokenizer_json = read_tokjson("gpt2/tokenizer.json");
  EXPECT_THROW(make_hf_tokenizer(none, {.fix_mistral_regex = true}), Error);

  // The warning: a large vocabulary of an old Mistral file.
  Json json = parse_tokjson("llama3/tokenizer.json");
  Json::object_t& vocab = json["model"]["vocab"].get_ref<Json::object_t&>();
  for (int i = 2000; i < 102000; ++i) vocab.Container::emplace_back("filler" + std::to_string(i), i);
  for (Json& added : json["added_tokens"])
    vocab.Container::emplace_back(added["content"].get<std::string>(), added["id"]);
  files.tokenizer_json = dump_json(json);
  files.config_json = R"({"model_type": "mistral3", "transformers_version": "4.52.1"})";
  EXPECT_TRUE(mentions(make_hf_tokenizer(files)->warnings(), "--fix-mistral-regex"));
  files.config_json = R"({"model_type": "mistral3", "transformers_version": "5.0.0"})";
  EXPECT_FALSE(mentions(make_hf_tokenizer(files)->warnings(), "--fix-mistral-regex"));
  files.config_json = R"({"model_type": "llama", "transformers_version": "4.52.1"})";
  EXPECT_FALSE(mentions(make_hf_tokenizer(files)->warnings(), "--fix-mistral-regex"));
}

TEST(HfSideFiles, BrokenOnesAreRefused) {
  const auto refused = [](auto set) {
    HfTokenizerFiles files = llama3_files();
    set(files);
    try {
      make_hf_tokenizer(files);
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::kInvalidModel);
      return std::string(e.what());
    }
    return std::string();
  };
  const auto config = [&](const std::string& text) {
    return refused([&](HfTokenizerFiles& files) { files.tokenizer_config_json = text; });
  };
  for (const char* text :
       {"", "[]", "{", R"({"bos_token": 1})", R"({"bos_token": {"lstrip": true}})", R"({"eos_token": ["x"]})",
        R"({"added_tokens_decoder": []})", R"({"added_tokens_decoder": {"x": {"content": "a"}}})",
        R"({"added_tokens_decoder": {"1": "a"}})", R"({"added_tokens_decoder": {"99999999999": {"content": "a"}}})",
        R"({"additional_special_tokens": "x"})", R"({"additional_special_tokens": [1]})", R"({"chat_template": 1})",
        R"({"chat_template": [{"name": "default"}]})", R"({"split_special_tokens": "yes"})"}) {
    EXPECT_NE(config(text).find("tokenizer_config.json"), std::string::npos) << text;
  }
  for (const char* text : {"[]", R"({"<a>": "x"})", R"({"<a>": -1})", R"({"<a>": 1.5})"}) {
    EXPECT_NE(refused([&](HfTokenizerFiles& files) { files.added_tokens_json = text; }), "") << text;
  }
  for (const char* text :
       {"1", R"({"eos_token_id": "x"})", R"({"eos_token_id": [1.5]})", R"({"suppress_tokens": {}})"}) {
    EXPECT_NE(refused([&](HfTokenizerFiles& files) { files.generation_config_json = text; }), "") << text;
  }
  EXPECT_NE(refused([&](HfTokenizerFiles& files) { files.special_tokens_map_json = "x"; }), "");
  EXPECT_NE(refused([&](HfTokenizerFiles& files) { files.chat_template_json = R"({"chat_template": 1})"; }), "");
}

}  // namespace
}  // namespace stretto
