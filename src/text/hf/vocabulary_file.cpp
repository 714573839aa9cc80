#include "text/hf/vocabulary_file.h"

#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "base/error.h"
#include "checkpoint/utf8.h"
#include "text/fragment_tokenizer.h"
#include "text/hf/rank_bpe.h"
#include "text/hf/sentencepiece_file.h"
#include "text/hf/table_builder.h"
#include "text/hf/tekken_file.h"

namespace stretto::hf {
namespace {

// What both files come down to.
struct VocabularyFile {
  const char* name = "";
  std::vector<std::string> texts;
  std::vector<TokenType> types;
  std::vector<int32_t> swallowing;  // ids that take the blanks behind them along
  SpecialIds special;
  bool add_space_prefix = false;
  TextCoding coding = TextCoding::kBlankSymbol;
  MakeRawEncoder make_encoder;
};

// User-defined tokens are looked for in the text as it is written, before its spaces become U+2581.
void unescape_user_defined(VocabularyFile& file) {
  for (size_t id = 0; id < file.texts.size(); ++id) {
    if (file.types[id] != TokenType::kUserDefined) continue;
    const std::string_view text = file.texts[id];
    std::string spaced;
    for (size_t at = 0; at < text.size();) {
      const bool blank = text.substr(at, kBlankSymbol.size()) == kBlankSymbol;
      spaced.push_back(blank ? ' ' : text[at]);
      at += blank ? kBlankSymbol.size() : 1;
    }
    file.texts[id] = std::move(spaced);
  }
}

VocabularyFile read_tokenizer_model(std::string_view bytes, Warnings& warnings) {
  SentencePieceModel model = parse_sentencepiece(bytes);
  VocabularyFile file;
  file.name = "tokenizer.model";
  const auto size = static_cast<int32_t>(model.texts.size());
  const auto id = [&](int32_t value, std::string_view field) -> std::optional<int32_t> {
    if (value < 0) return std::nullopt;
    if (value < size) return value;
    warnings.push_back(fmt::format("{}: trainer_spec.{} = {} is outside the vocabulary of {} tokens and ignored",
                                   file.name, field, value, size));
    return std::nullopt;
  };
  file.special.unknown = id(model.unknown, "unk_id");
  file.special.bos = id(model.bos, "bos_id");
  file.special.eos = id(model.eos, "eos_id");
  file.special.padding = id(model.padding, "pad_id");
  if (!model.byte_fallback) {
    warnings.push_back(
        fmt::format("{} has no byte tokens: each byte of a character that is no token becomes the "
                    "unknown token",
                    file.name));
  }
  file.texts = std::move(model.texts);
  file.types = std::move(model.types);
  file.add_space_prefix = model.add_dummy_prefix;
  file.make_encoder = [scores = std::move(model.scores),
                       collapse = model.remove_extra_whitespaces](const TokenTable& table) mutable {
    scores.resize(static_cast<size_t>(table.vocabulary.size()));  // added tokens have none and no merge makes them
    return make_sentencepiece_encoder(table, scores, collapse);
  };
  return file;
}

VocabularyFile read_tekken_json(std::string_view text, Warnings& warnings) {
  TekkenModel model = parse_tekken(text, warnings);
  VocabularyFile file;
  file.name = "tekken.json";
  const auto n_special = static_cast<size_t>(model.n_special);
  const auto n_ranks = static_cast<int32_t>(model.texts.size() - n_special);
  const auto id = [&](std::string_view wanted) -> std::optional<int32_t> {
    for (size_t i = 0; i < n_special; ++i) {
      if (model.texts[i] == wanted) return static_cast<int32_t>(i);
    }
    return std::nullopt;
  };
  file.special.unknown = id("<unk>");
  file.special.bos = id("<s>");
  file.special.eos = id("</s>");
  file.special.padding = id("<pad>");
  if (!file.special.bos) fail(ErrorKind::kInvalidModel, "tekken.json.special_tokens has no '<s>'");
  file.texts = std::move(model.texts);
  file.types = std::move(model.types);
  file.coding = TextCoding::kByteAlphabet;
  file.make_encoder = [pattern = std::move(model.pattern), first = model.n_special, n_ranks](const TokenTable& table) {
    return std::make_unique<const RankBpe>(table.vocabulary, first, n_ranks,
                                           Pattern::regex(pattern, "tekken.json.config.pattern"));
  };
  return file;
}

// The tokens that the files beside the vocabulary name: a text that is there gets the type, another the next id.
class TokenAdder {
 public:
  TokenAdder(VocabularyFile& file, const SideFiles& side, Warnings& warnings)
      : file_(file), side_(side), warnings_(warnings) {
    for (size_t id = 0; id < file.texts.size(); ++id) {
      const auto [place, is_new] = ids_.try_emplace(file.texts[id], id);
      // A special token may be spelled like an ordinary one of other bytes; it is the one that is meant here.
      if (!is_new && !is_special(file.types[place->second])) place->second = id;
    }
  }

  void add_all() {
    for (const AddedToken& token : side_.replacing) add(token);
    for (const AddedToken& token : side_.if_new) {
      if (known_.count(token.content) == 0) add(token);
    }
  }

 private:
  void add(const AddedToken& token) {
    if (token.content.empty()) return;
    known_.insert(token.content);
    const auto [place, is_new] = ids_.try_emplace(token.content, file_.texts.size());
    const size_t id = place->second;
    if (is_new) {
      append(token);
    } else if (file_.types[id] != TokenType::kUnknown) {
      file_.types[id] = token.special ? TokenType::kControl : TokenType::kUserDefined;
    }
    if (token.declared_id && *token.declared_id != id) {
      warnings_.push_back(
          fmt::format("{}: '{}' says id {} and gets {}", token.path, printable(token.content), *token.declared_id, id));
    }
    if (token.rstrip) file_.swallowing.push_back(static_cast<int32_t>(id));
  }

  void append(const AddedToken& token) {
    const size_t id = file_.texts.size();
    if (id >= kMaxVocabulary || (side_.vocab_size && id >= *side_.vocab_size)) {
      fail(ErrorKind::kInvalidModel, "{}: '{}' would get the id {}, expected less than {}", token.path,
           printable(token.content), id, side_.vocab_size ? "config.json.vocab_size" : "2^22");
    }
    file_.texts.push_back(token.content);
    file_.types.push_back(token.special ? TokenType::kControl : TokenType::kUserDefined);
  }

  VocabularyFile& file_;
  const SideFiles& side_;
  Warnings& warnings_;
  std::unordered_map<std::string, size_t> ids_;
  std::unordered_set<std::string> known_;
};

void warn_of_duplicates(const VocabularyFile& file, TokenTable& table) {
  const Vocabulary& vocabulary = table.vocabulary;
  size_t n = 0;
  std::string first;
  for (const int32_t id : vocabulary.duplicates()) {
    if (is_special(vocabulary.type(id))) continue;  // found by its text all the same
    if (n++ == 0) first = fmt::format("'{}' (id {})", printable(vocabulary.text(id)), id);
  }
  if (n == 0) return;
  table.warnings.push_back(
      fmt::format("{}: {} token texts occur twice, the first is {}; the last id is used", file.name, n, first));
}

// Ids that the files beside the vocabulary name by text, else those of the file.
void fill_special_ids(const VocabularyFile& file, const SideFiles& side, TokenTable& table) {
  TableBuilder builder(side, table);
  builder.read_special_ids(file.special.unknown);
  const auto prefer_file = [&](const char* name, std::optional<int32_t>& target, std::optional<int32_t> own) {
    const bool named = side.text(name) != nullptr && target && is_special(table.vocabulary.type(*target));
    if (!named && own) target = own;
  };
  SpecialIds& special = table.special;
  prefer_file("unk_token", special.unknown, file.special.unknown);
  prefer_file("bos_token", special.bos, file.special.bos);
  prefer_file("eos_token", special.eos, file.special.eos);
  prefer_file("pad_token", special.padding, file.special.padding);
  builder.read_stop_ids();
}

}  // namespace

bool has_vocabulary_file(const HfTokenizerFiles& files) {
  if (files.tokenizer_json || (files.vocab_json && files.merges_txt)) return false;
  return files.tokenizer_model || files.tekken_json;
}

std::unique_ptr<const Tokenizer> make_vocabulary_file_tokenizer(const HfTokenizerFiles& files, const SideFiles& side,
                                                                const HfTokenizerOptions& options, TokenTable table) {
  VocabularyFile file = files.tokenizer_model ? read_tokenizer_model(*files.tokenizer_model, table.warnings)
                                              : read_tekken_json(*files.tekken_json, table.warnings);
  if (options.fix_mistral_regex) {
    fail(ErrorKind::kBadArgument, "--fix-mistral-regex: the tokenizer comes from {}, which has no such mistake",
         file.name);
  }
  TokenAdder(file, side, table.warnings).add_all();
  if (file.coding == TextCoding::kBlankSymbol) unescape_user_defined(file);
  table.vocabulary = Vocabulary(file.texts, std::move(file.types));
  warn_of_duplicates(file, table);
  fill_special_ids(file, side, table);
  // No file says what stands around a text: bos is the rule, tokenizer_config.json may switch it off.
  table.add_bos = options.add_bos.value_or(side.add_bos_flag.value_or(true));
  if (options.add_bos == true && !table.special.bos) {
    fail(ErrorKind::kBadArgument, "--add-bos on: the model names no bos token");
  }
  table.add_space_prefix = file.add_space_prefix;
  apply_well_known_texts(table, "");
  if (!file.swallowing.empty()) {
    table.swallows_whitespace.resize(static_cast<size_t>(table.vocabulary.size()));
    for (const int32_t id : file.swallowing) table.swallows_whitespace[static_cast<size_t>(id)] = true;
  }
  fill_pieces(table, file.coding);
  for (const HfChatTemplate& t : read_hf_chat_templates(files)) {
    if (t.name == "default") table.chat_template = t.source;
    if (t.name == "tool_use") table.tool_template = t.source;
  }
  table.warnings.push_back(fmt::format("there is no tokenizer.json: {} is read, with bos {}", file.name,
                                       table.add_bos ? "added" : "left out"));
  return make_fragment_tokenizer(std::move(table), file.make_encoder);
}

}  // namespace stretto::hf
