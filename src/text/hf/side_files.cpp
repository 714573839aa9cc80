#include "text/hf/side_files.h"

#include <algorithm>
#include <unordered_set>
#include <utility>

#include "base/error.h"
#include "checkpoint/utf8.h"

namespace stretto::hf {
namespace {

constexpr size_t kMaxTokens = size_t{1} << 18;
constexpr const char* kNamedKeys[] = {"bos_token", "eos_token", "unk_token", "sep_token",
                                      "pad_token", "cls_token", "mask_token"};

// Files written by Python: NaN and integers of any size are accepted.
Json parse_side_file(const std::optional<std::string>& text, std::string_view name) {
  if (!text) return Json::object();
  return parse_json(*text, name, {.wide_integers_as_double = true, .python_constants = true});
}

// A special token given as text or as {content, flags}; special unless it says otherwise.
std::optional<AddedToken> read_token(const Json& json, const std::string& path) {
  AddedToken token;
  if (json.is_string()) {
    token.content = json.get<std::string>();
    token.path = path;
  } else if (json.is_object()) {
    Fields fields(json, path);
    token = read_added_token(fields, false);
  } else if (json.is_null()) {
    return std::nullopt;
  } else {
    refuse_value(path, json, "a text or an object with \"content\"");
  }
  if (token.content.empty()) return std::nullopt;
  if (token.content.size() > kMaxTokenBytes) {
    fail(ErrorKind::kInvalidModel, "{} has {} bytes, at most {} are allowed", path, token.content.size(),
         kMaxTokenBytes);
  }
  token.special = true;
  return token;
}

// Ids as an integer or a list of integers.
std::vector<int64_t> read_ids(const Json& json, const std::string& path) {
  std::vector<int64_t> ids;
  const auto add = [&](const Json& item) {
    if (!item.is_number_integer() || (item.is_number_unsigned() && item.get<uint64_t>() > INT64_MAX)) {
      refuse_value(path, item, "an integer or a list of integers");
    }
    ids.push_back(item.get<int64_t>());
  };
  if (json.is_array()) {
    for (const Json& item : json) add(item);
  } else {
    add(json);
  }
  return ids;
}

class SideReader {
 public:
  explicit SideReader(Warnings& warnings) : warnings_(warnings) {}

  void read_tokenizer_config(const HfTokenizerFiles& files) {
    const Json json = parse_side_file(files.tokenizer_config_json, "tokenizer_config.json");
    Fields config(json, "tokenizer_config.json");
    read_named(config);
    has_decoder_ = config.find("added_tokens_decoder") != nullptr;
    if (has_decoder_) read_decoder(config);
    read_extra(config);
    side_.split_special_tokens = config.optional_flag("split_special_tokens").value_or(false);
    side_.add_bos_flag = config.optional_flag("add_bos_token");
  }

  // Only older files have one that counts: newer ones say all of it in tokenizer_config.json.
  void read_special_tokens_map(const HfTokenizerFiles& files) {
    if (has_decoder_ || !files.special_tokens_map_json) return;
    const Json json = parse_side_file(files.special_tokens_map_json, "special_tokens_map.json");
    Fields map(json, "special_tokens_map.json");
    read_named(map);
    read_extra(map);
  }

  void read_added_tokens_json(const HfTokenizerFiles& files) {
    if (has_decoder_ || !files.added_tokens_json) return;
    const Json json = parse_side_file(files.added_tokens_json, "added_tokens.json");
    if (!json.is_object()) refuse_value("added_tokens.json", json, "an object of texts and ids");
    std::vector<AddedToken> tokens;
    for (const auto& [text, id] : json.get_ref<const Json::object_t&>()) {
      AddedToken token;
      token.path = "added_tokens.json";
      if (!id.is_number_unsigned()) refuse_value("added_tokens.json: the id of '" + printable(text) + "'", id, "an id");
      token.declared_id = id.get<uint64_t>();
      token.content = text;
      token.special = is_named(text);
      token.normalized = !token.special;
      tokens.push_back(std::move(token));
    }
    std::stable_sort(tokens.begin(), tokens.end(),
                     [](const AddedToken& a, const AddedToken& b) { return a.declared_id < b.declared_id; });
    side_.if_new.insert(side_.if_new.begin(), std::make_move_iterator(tokens.begin()),
                        std::make_move_iterator(tokens.end()));
  }

  void read_ids_of(const HfTokenizerFiles& files) {
    const Json generation_json = parse_side_file(files.generation_config_json, "generation_config.json");
    const Json config_json = parse_side_file(files.config_json, "config.json");
    Fields generation(generation_json, "generation_config.json");
    Fields config(config_json, "config.json");
    const Json empty = Json::object();
    const Json* text_json = config.find("text_config");
    Fields text_config(text_json == nullptr ? empty : *text_json, "config.json.text_config");
    for (Fields* fields : {&generation, &config, &text_config}) {
      const Json* ids = fields->find("eos_token_id");
      if (ids == nullptr || !side_.stop_ids.empty()) continue;
      side_.stop_ids = read_ids(*ids, fields->path_of("eos_token_id"));
      side_.stop_source = fields->path();
    }
    for (Fields* fields : {&config, &text_config}) {
      if (const Json* id = fields->find("bos_token_id"); id != nullptr && !side_.bos_id && id->is_number_integer()) {
        side_.bos_id = read_ids(*id, fields->path_of("bos_token_id"))[0];
      }
      if (const Json* rows = fields->find("vocab_size"); rows != nullptr && rows->is_number_unsigned()) {
        if (!side_.vocab_size) side_.vocab_size = rows->get<uint64_t>();
      }
    }
    if (const Json* ids = generation.find("suppress_tokens")) {
      side_.suppressed = read_ids(*ids, generation.path_of("suppress_tokens"));
    }
    side_.model_type = config.optional_text("model_type").value_or("");
    side_.transformers_version = config.optional_text("transformers_version").value_or("");
  }

  SideFiles take() {
    std::vector<AddedToken>& if_new = side_.if_new;
    for (const NamedText& named : side_.named) if_new.push_back(named.token);
    std::move(extra_.begin(), extra_.end(), std::back_inserter(if_new));
    if (if_new.size() + side_.replacing.size() > kMaxTokens) {
      fail(ErrorKind::kInvalidModel, "the files beside tokenizer.json add {} tokens, at most {} are allowed",
           if_new.size() + side_.replacing.size(), kMaxTokens);
    }
    return std::move(side_);
  }

 private:
  bool is_named(std::string_view text) const {
    return std::any_of(side_.named.begin(), side_.named.end(),
                       [&](const NamedText& named) { return named.token.content == text; });
  }

  void read_named(Fields& fields) {
    for (const char* key : kNamedKeys) {
      const Json* json = fields.find(key);
      if (json == nullptr) continue;
      std::optional<AddedToken> token = read_token(*json, fields.path_of(key));
      if (!token) continue;
      const auto old = std::find_if(side_.named.begin(), side_.named.end(),
                                    [&](const NamedText& named) { return named.name == key; });
      if (old == side_.named.end()) {
        side_.named.push_back({key, *std::move(token)});
        continue;
      }
      if (old->token.content != token->content) {
        warnings_.push_back(fmt::format("{} is '{}', which replaces '{}' of tokenizer_config.json", token->path,
                                        printable(token->content), printable(old->token.content)));
      }
      old->token = *std::move(token);
    }
  }

  void read_decoder(Fields& config) {
    Fields decoder = config.object("added_tokens_decoder");
    const Json& json = config.require("added_tokens_decoder");
    for (const auto& [key, value] : json.get_ref<const Json::object_t&>()) {
      Fields fields(value, decoder.path_of(printable(key, 20)));
      AddedToken token = read_added_token(fields, false);
      if (key.empty() || key.size() > 9 || key.find_first_not_of("0123456789") != std::string::npos) {
        fail(ErrorKind::kInvalidModel, "{}: '{}' is no token id", decoder.path(), printable(key, 20));
      }
      token.declared_id = std::stoull(key);
      side_.replacing.push_back(std::move(token));
    }
    std::stable_sort(side_.replacing.begin(), side_.replacing.end(),
                     [](const AddedToken& a, const AddedToken& b) { return a.declared_id < b.declared_id; });
  }

  // Lists of further special tokens; newer files have an object {name: text}.
  void read_extra(Fields& fields) {
    for (const char* key : {"extra_special_tokens", "additional_special_tokens"}) {
      const Json* list = fields.find(key);
      if (list == nullptr) continue;
      if (!list->is_array() && !list->is_object()) refuse_value(fields.path_of(key), *list, "a list of texts");
      for (const Json& item : *list) {
        std::optional<AddedToken> token = read_token(item, fields.path_of(key));
        if (!token) continue;
        token->normalized = false;
        extra_.push_back(*std::move(token));
      }
    }
  }

  Warnings& warnings_;
  SideFiles side_;
  std::vector<AddedToken> extra_;
  bool has_decoder_ = false;
};

}  // namespace

const std::string* SideFiles::text(std::string_view name) const {
  for (const NamedText& item : named) {
    if (item.name == name) return &item.token.content;
  }
  return nullptr;
}

SideFiles read_side_files(const HfTokenizerFiles& files, Warnings& warnings) {
  SideReader reader(warnings);
  reader.read_tokenizer_config(files);
  reader.read_special_tokens_map(files);
  reader.read_added_tokens_json(files);
  reader.read_ids_of(files);
  return reader.take();
}

std::vector<AddedToken> collect_added(Fields& root, const SideFiles& side, const BpeModel& model, Warnings& warnings) {
  std::vector<AddedToken> tokens = read_added_tokens(root, warnings);
  std::unordered_set<std::string> known;
  for (const AddedToken& token : tokens) known.insert(token.content);
  const std::unordered_set<std::string> listed = known;
  for (const AddedToken& token : side.replacing) {
    known.insert(token.content);
    tokens.push_back(token);
  }
  for (const AddedToken& token : side.if_new) {
    if (known.insert(token.content).second) tokens.push_back(token);
  }
  tokens = assign_ids(std::move(tokens), model, warnings);
  for (const AddedToken& token : tokens) {
    if (!side.vocab_size || static_cast<uint64_t>(token.id) < *side.vocab_size) continue;
    const std::string what = fmt::format("{}: '{}' has the id {}, the model has {} rows (config.json.vocab_size)",
                                         token.path, printable(token.content), token.id, *side.vocab_size);
    if (listed.count(token.content) == 0) throw Error(ErrorKind::kInvalidModel, what);
    warnings.push_back(what);
  }
  return tokens;
}

}  // namespace stretto::hf

namespace stretto {
namespace {

using hf::Fields;

std::vector<HfChatTemplate> templates_of_config(const std::string& text) {
  std::vector<HfChatTemplate> out;
  const Json json =
      parse_json(text, "tokenizer_config.json", {.wide_integers_as_double = true, .python_constants = true});
  Fields config(json, "tokenizer_config.json");
  const Json* value = config.find("chat_template");
  if (value == nullptr) return out;
  if (!value->is_array()) return {{"default", config.text("chat_template")}};
  for (size_t i = 0; i < value->size(); ++i) {
    Fields item((*value)[i], fmt::format("{}[{}]", config.path_of("chat_template"), i));
    std::string name = item.text("name");
    const auto place = name == "default" ? out.begin() : out.end();
    out.insert(place, {std::move(name), item.text("template")});
  }
  return out;
}

}  // namespace

std::vector<HfChatTemplate> read_hf_chat_templates(const HfTokenizerFiles& files) {
  std::vector<HfChatTemplate> out;
  if (files.tokenizer_config_json) out = templates_of_config(*files.tokenizer_config_json);
  if (files.chat_template_jinja) {
    if (out.empty() || out.front().name != "default") out.insert(out.begin(), HfChatTemplate{"default", {}});
    out.front().source = *files.chat_template_jinja;
  }
  if (files.tool_use_jinja) {
    std::erase_if(out, [](const HfChatTemplate& t) { return t.name == "tool_use"; });
    out.push_back({"tool_use", *files.tool_use_jinja});
  }
  if (!out.empty() || !files.chat_template_json) return out;
  const Json json = parse_json(*files.chat_template_json, "chat_template.json");
  Fields fields(json, "chat_template.json");
  if (const auto text = fields.optional_text("chat_template")) out.push_back({"default", *text});
  return out;
}

}  // namespace stretto
