// Puts the parts of a tokenizer.json together and runs them.
#include "text/hf_tokenizer.h"

#include <algorithm>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "base/error.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/utf8.h"
#include "text/hf/added_tokens.h"
#include "text/hf/bpe_model.h"
#include "text/hf/decoder.h"
#include "text/hf/normalizer.h"
#include "text/hf/piece_splitter.h"
#include "text/hf/post_processor.h"
#include "text/hf/source.h"
#include "text/hf/table_builder.h"
#include "text/hf/vocabulary_file.h"
#include "text/object_pool.h"
#include "text/utf8.h"

namespace stretto {
namespace hf {
namespace {

constexpr size_t kMaxInputBytes = size_t{256} << 20;

const Json& component(Fields& root, std::string_view key) {
  static const Json kNull;
  const Json* json = root.find(key);
  return json == nullptr ? kNull : *json;
}

// Everything that does not depend on the base class's table.
struct Parts {
  Parts(Fields& root, BpeData bpe, Warnings& warnings)
      : normalizer(component(root, "normalizer"), root.path_of("normalizer"), warnings),
        splitter(component(root, "pre_tokenizer"), root.path_of("pre_tokenizer"), warnings),
        decoder(component(root, "decoder"), root.path_of("decoder"), warnings),
        model(root.require("model"), std::move(bpe), root.path_of("model"), warnings) {}

  Normalizer normalizer;
  PieceSplitter splitter;
  Decoder decoder;
  BpeModel model;
  std::vector<AddedToken> added;
  PostProcessor post;
  std::unordered_map<int32_t, std::string> shown;  // decode() shows these ids by another text than their own
  std::vector<bool> skipped;                       // [size]: decode() leaves these out when it hides special tokens
};

class HfTokenizer : public Tokenizer {
 public:
  HfTokenizer(std::unique_ptr<const Parts> parts, TokenTable table, AddedTokenScanner raw, AddedTokenScanner normalized)
      : Tokenizer(std::move(table)),
        parts_(std::move(parts)),
        raw_tokens_(std::move(raw)),
        normalized_tokens_(std::move(normalized)) {}

  std::vector<int32_t> encode(std::string_view text, const EncodeOptions& options) const override {
    if (text.size() > kMaxInputBytes) {
      fail(ErrorKind::kBadArgument, "a text of {} bytes cannot be tokenized, at most {} are allowed", text.size(),
           kMaxInputBytes);
    }
    const PostProcessor& post = parts_->post;
    std::vector<int32_t> ids;
    if (options.add_special) ids = post.prefix;
    const auto scratch = scratch_.lease();
    const std::string_view valid = sanitise_utf8(text, scratch->valid);
    scratch->fragments.clear();
    raw_tokens_.scan(valid, options.parse_special, scratch->fragments);
    for (const Fragment& fragment : scratch->fragments) {
      if (fragment.id >= 0) {
        ids.push_back(fragment.id);
      } else {
        encode_fragment(valid, fragment, options, *scratch, ids);
      }
    }
    if (options.warnings != nullptr && options.add_special && adds_bos() && ids.size() > post.prefix.size() &&
        ids[post.prefix.size()] == *bos()) {
      options.warnings->push_back(fmt::format(
          "the text begins with '{}' and the tokenizer adds it too: there are two now", printable(this->text(*bos()))));
    }
    if (options.add_special) ids.insert(ids.end(), post.suffix.begin(), post.suffix.end());
    scratch->trim();
    return ids;
  }

  std::string decode(std::span<const int32_t> ids, bool show_special) const override {
    std::vector<std::string> tokens;
    tokens.reserve(ids.size());
    for (const int32_t id : ids) {
      if (!table_.vocabulary.contains(id) || type(id) == TokenType::kUnused) continue;
      if (!show_special && parts_->skipped[static_cast<size_t>(id)]) continue;
      const auto shown = parts_->shown.find(id);
      tokens.emplace_back(shown == parts_->shown.end() ? text(id) : std::string_view(shown->second));
    }
    return parts_->decoder.decode(std::move(tokens));
  }

 private:
  struct Scratch {
    std::string valid;
    std::string normalized;
    std::vector<Fragment> fragments;
    std::vector<Fragment> inner;
    Pieces pieces;
    BpeModel::Scratch model;

    void trim() {
      for (std::string* text : {&valid, &normalized, &pieces.owned, &pieces.rewritten}) trim_buffer(*text);
      for (std::vector<Fragment>* list : {&fragments, &inner}) trim_buffer(*list);
      for (std::vector<Span>* list : {&pieces.spans, &pieces.next_spans}) trim_buffer(*list);
      trim_buffer(pieces.ranges);
    }
  };

  void encode_fragment(std::string_view input, const Fragment& fragment, const EncodeOptions& options, Scratch& scratch,
                       std::vector<int32_t>& ids) const {
    std::string_view text = input.substr(fragment.begin, fragment.end - fragment.begin);
    if (!parts_->normalizer.empty()) {
      scratch.normalized = text;
      parts_->normalizer.apply(scratch.normalized, options.warnings);
      text = scratch.normalized;
    }
    if (normalized_tokens_.empty()) {
      encode_raw(text, fragment.begin == 0, options, scratch, ids);
      return;
    }
    scratch.inner.clear();
    normalized_tokens_.scan(text, options.parse_special, scratch.inner);
    for (const Fragment& inner : scratch.inner) {
      if (inner.id >= 0) {
        ids.push_back(inner.id);
      } else {
        encode_raw(text.substr(inner.begin, inner.end - inner.begin), fragment.begin == 0 && inner.begin == 0, options,
                   scratch, ids);
      }
    }
  }

  void encode_raw(std::string_view text, bool at_input_start, const EncodeOptions& options, Scratch& scratch,
                  std::vector<int32_t>& ids) const {
    Pieces& pieces = scratch.pieces;
    pieces.reset(text, at_input_start);
    parts_->splitter.split(pieces, options.warnings);
    for (const Span span : pieces.spans) parts_->model.encode(pieces.piece(span), ids, scratch.model);
  }

  std::unique_ptr<const Parts> parts_;
  AddedTokenScanner raw_tokens_;         // matched before normalization
  AddedTokenScanner normalized_tokens_;  // and after it
  mutable ObjectPool<Scratch> scratch_;
};

void check_root(Fields& root, Warnings& warnings) {
  const std::string version = root.has("version") ? root.text("version") : "1.0";
  if (version != "1.0") {
    fail(ErrorKind::kUnsupported, "{} is \"{}\", supported is 1.0", root.path_of("version"), printable(version));
  }
  for (const char* key : {"truncation", "padding"}) {
    if (root.find(key) != nullptr) warnings.push_back(fmt::format("{} is ignored", root.path_of(key)));
  }
}

Vocabulary make_vocabulary(const Parts& parts) {
  int32_t size = 0;
  const auto cover = [&](int32_t id, std::string_view) { size = std::max(size, id + 1); };
  parts.model.for_each(cover);
  for (const AddedToken& token : parts.added) cover(token.id, token.content);
  std::vector<std::string> texts(static_cast<size_t>(size));
  std::vector<TokenType> types(texts.size(), TokenType::kUnused);
  parts.model.for_each([&](int32_t id, std::string_view text) {
    texts[id] = text;
    const bool byte = parts.model.byte_fallback() && byte_token_value(text) >= 0;
    types[id] = byte ? TokenType::kByte : TokenType::kNormal;
  });
  for (const AddedToken& token : parts.added) {
    texts[token.id] = token.content;
    const bool unknown = parts.model.unknown() == token.id;
    types[token.id] = !token.special ? TokenType::kUserDefined : unknown ? TokenType::kUnknown : TokenType::kControl;
  }
  for (size_t id = 0; id < texts.size(); ++id) {
    if (types[id] == TokenType::kUnused) texts[id] = fmt::format("[PAD{}]", id);
  }
  return Vocabulary(texts, std::move(types));
}

std::vector<bool> real_tokens(const Vocabulary& vocabulary) {
  std::vector<bool> real(static_cast<size_t>(vocabulary.size()));
  for (int32_t id = 0; id < vocabulary.size(); ++id) {
    real[static_cast<size_t>(id)] = vocabulary.type(id) != TokenType::kUnused;
  }
  return real;
}

// What the texts of tokens look like to decode(), and the bytes that each stands for.
void fill_texts(Parts& parts, const std::vector<bool>& real, TokenTable& table) {
  std::unordered_set<std::string_view> special;
  for (const AddedToken& token : parts.added) {
    if (token.special) special.insert(token.content);
    if (!token.normalized || parts.normalizer.empty()) continue;
    std::string text = token.content;
    parts.normalizer.apply(text, nullptr);
    if (text != token.content) parts.shown.emplace(token.id, std::move(text));
  }
  const auto size = static_cast<size_t>(table.vocabulary.size());
  parts.skipped.assign(size, false);
  table.pieces.resize(size);
  for (size_t id = 0; id < size; ++id) {
    if (!real[id]) continue;
    const auto shown = parts.shown.find(static_cast<int32_t>(id));
    const std::string_view text =
        shown == parts.shown.end() ? table.vocabulary.text(static_cast<int32_t>(id)) : shown->second;
    parts.skipped[id] = special.count(text) > 0;
    table.pieces[id] = parts.decoder.piece(text);
  }
}

// The tokens of one set; normalized ones are looked for by their normal form.
AddedTokenScanner make_scanner(const Parts& parts, bool normalized) {
  std::vector<AddedTokenScanner::Pattern> patterns;
  for (const AddedToken& token : parts.added) {
    if (token.normalized != normalized) continue;
    std::string text = token.content;
    if (normalized) parts.normalizer.apply(text, nullptr);
    if (text.empty()) continue;
    patterns.push_back({std::move(text), token.id, token.single_word, token.lstrip, token.rstrip, token.special});
  }
  return AddedTokenScanner(std::move(patterns));
}

}  // namespace
}  // namespace hf

HfTokenizerFiles read_hf_tokenizer_files(const Checkpoint& checkpoint) {
  HfTokenizerFiles files;
  files.tokenizer_json = checkpoint.side_file("tokenizer.json");
  if (!files.tokenizer_json) {
    files.vocab_json = checkpoint.side_file("vocab.json");
    files.merges_txt = checkpoint.side_file("merges.txt");
    files.tokenizer_model = checkpoint.side_file("tokenizer.model");
    files.tekken_json = checkpoint.side_file("tekken.json");
  }
  files.tokenizer_config_json = checkpoint.side_file("tokenizer_config.json");
  files.special_tokens_map_json = checkpoint.side_file("special_tokens_map.json");
  files.added_tokens_json = checkpoint.side_file("added_tokens.json");
  files.generation_config_json = checkpoint.side_file("generation_config.json");
  files.config_json = checkpoint.side_file("config.json");
  files.chat_template_jinja = checkpoint.side_file("chat_template.jinja");
  files.tool_use_jinja = checkpoint.side_file("additional_chat_templates/tool_use.jinja");
  files.chat_template_json = checkpoint.side_file("chat_template.json");
  return files;
}

bool has_hf_tokenizer(const HfTokenizerFiles& files) {
  return files.tokenizer_json.has_value() || (files.vocab_json.has_value() && files.merges_txt.has_value()) ||
         hf::has_vocabulary_file(files);
}

std::unique_ptr<const Tokenizer> make_hf_tokenizer(const HfTokenizerFiles& files, const HfTokenizerOptions& options) {
  using namespace hf;
  TokenTable table;
  const SideFiles side = read_side_files(files, table.warnings);
  if (has_vocabulary_file(files)) return make_vocabulary_file_tokenizer(files, side, options, std::move(table));
  TokenizerJson source = load_source(files, side, table.warnings);
  check_mistral_regex(source, side, options.fix_mistral_regex, table.warnings);
  Fields root(source.root, "tokenizer.json");
  check_root(root, table.warnings);
  auto parts = std::make_unique<Parts>(root, std::move(source.bpe), table.warnings);
  parts->added = collect_added(root, side, parts->model, table.warnings);
  table.vocabulary = make_vocabulary(*parts);
  const std::vector<bool> real = real_tokens(table.vocabulary);
  parts->post =
      read_post_processor(component(root, "post_processor"), root.path_of("post_processor"), real, table.warnings);
  root.report_unread(table.warnings);
  fill_texts(*parts, real, table);
  TableBuilder builder(side, table);
  builder.read_special_ids(parts->model.unknown());
  builder.read_stop_ids();
  builder.place_bos(parts->post, options.add_bos);
  apply_well_known_texts(table, "");
  if (side.split_special_tokens) {
    table.warnings.push_back(
        "tokenizer_config.json says split_special_tokens: written-out special tokens of plain text are meant to stay "
        "text");
  }
  for (const HfChatTemplate& t : read_hf_chat_templates(files)) {
    if (t.name == "default") table.chat_template = t.source;
    if (t.name == "tool_use") table.tool_template = t.source;
  }
  AddedTokenScanner raw = make_scanner(*parts, false);
  AddedTokenScanner normalized = make_scanner(*parts, true);
  return std::make_unique<HfTokenizer>(std::move(parts), std::move(table), std::move(raw), std::move(normalized));
}

}  // namespace stretto
