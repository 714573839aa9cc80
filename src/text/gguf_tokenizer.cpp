// The tokenizers of GGUF files: reads the tokenizer.* metadata and puts the parts together.
#include <algorithm>
#include <utility>

#include "base/error.h"
#include "checkpoint/utf8.h"
#include "text/bpe.h"
#include "text/fragment_tokenizer.h"
#include "text/spm.h"
#include "text/tokenizer.h"

namespace stretto {
namespace {

enum class Algorithm { kByteLevelBpe, kSpm, kRawUtf8Bpe };

Algorithm read_algorithm(const Metadata& gguf) {
  const std::string model = gguf.get_string("tokenizer.ggml.model").value_or("none");
  if (model == "gpt2") return Algorithm::kByteLevelBpe;
  if (model == "llama") return Algorithm::kSpm;
  if (model == "gemma4") return Algorithm::kRawUtf8Bpe;
  if (model == "none" || model == "no_vocab" || model.empty()) {
    fail(ErrorKind::kUnsupported, "this model has no tokenizer; use --tokens to give token ids");
  }
  fail(ErrorKind::kUnsupported,
       "tokenizer.ggml.model is '{}', supported are gpt2, llama and gemma4; use --tokens to give token ids",
       printable(model));
}

const PreRule& require_pre_rule(std::string_view name, bool forced) {
  const PreRule* rule = find_pre_rule(name);
  if (rule != nullptr) return *rule;
  if (forced)
    fail(ErrorKind::kBadArgument, "--pre {}: unknown pre-tokenizer; known are {}", printable(name), known_pre_names());
  fail(ErrorKind::kUnsupported, "tokenizer.ggml.pre is '{}', an unknown pre-tokenizer; --pre NAME forces one of: {}",
       name, known_pre_names());
}

// The rule of a BPE file; notes in table.warnings what was assumed.
const PreRule& read_pre_rule(const Metadata& gguf, Algorithm algorithm, std::string_view force_pre, TokenTable& table) {
  if (algorithm != Algorithm::kByteLevelBpe) {
    if (!force_pre.empty())
      table.warnings.push_back(fmt::format("--pre {} has no effect on this tokenizer", printable(force_pre)));
    return require_pre_rule("gemma4", false);
  }
  if (!force_pre.empty()) return require_pre_rule(force_pre, true);
  const std::string name = gguf.get_string("tokenizer.ggml.pre").value_or("");
  if (!name.empty()) return require_pre_rule(name, false);
  table.warnings.push_back(
      "THE FILE NAMES NO PRE-TOKENIZER (tokenizer.ggml.pre): 'default' is used, which is probably not what the model "
      "was trained with; --pre NAME sets the right one");
  return require_pre_rule("default", false);
}

void require_length(std::string_view key, size_t have, size_t want) {
  if (have < want) {
    fail(ErrorKind::kInvalidModel, "{} has {} entries, the vocabulary has {} tokens", key, have, want);
  }
}

void read_vocabulary(const Metadata& gguf, TokenTable& table) {
  const std::vector<std::string>* texts = gguf.get_strings("tokenizer.ggml.tokens");
  if (texts == nullptr) fail(ErrorKind::kInvalidModel, "tokenizer.ggml.tokens is missing");
  std::vector<TokenType> types(texts->size(), TokenType::kNormal);
  if (const auto stored = gguf.get_ints("tokenizer.ggml.token_type")) {
    require_length("tokenizer.ggml.token_type", stored->size(), texts->size());
    for (size_t id = 0; id < types.size(); ++id) {
      const int64_t type = (*stored)[id];
      types[id] = type >= 0 && type <= 6 ? static_cast<TokenType>(type) : TokenType::kUndefined;
    }
  }
  table.vocabulary = Vocabulary(*texts, std::move(types));
  const std::vector<int32_t>& duplicates = table.vocabulary.duplicates();
  if (!duplicates.empty()) {
    table.warnings.push_back(fmt::format("{} token texts occur twice, the first is '{}' (id {}); the last id is used",
                                         duplicates.size(), printable(table.vocabulary.text(duplicates[0])),
                                         duplicates[0]));
  }
}

void read_special_ids(const Metadata& gguf, Algorithm algorithm, TokenTable& table) {
  SpecialIds& special = table.special;
  if (algorithm == Algorithm::kSpm) {
    const auto default_id = [&](int32_t id) {
      return table.vocabulary.contains(id) ? std::optional<int32_t>(id) : std::nullopt;
    };
    special.unknown = default_id(0);
    special.bos = default_id(1);
    special.eos = default_id(2);
  }
  const auto read = [&](std::string_view name, std::optional<int32_t>& target) {
    const std::string key = fmt::format("tokenizer.ggml.{}", name);
    const std::optional<int64_t> id = gguf.get_int(key);
    if (!id) return;
    if (table.vocabulary.contains(*id)) {
      target = static_cast<int32_t>(*id);
    } else {
      table.warnings.push_back(
          fmt::format("{} = {} is outside the vocabulary of {} tokens and ignored", key, *id, table.vocabulary.size()));
    }
  };
  read("bos_token_id", special.bos);
  read("eos_token_id", special.eos);
  read("eot_token_id", special.eot);
  read("eom_token_id", special.eom);
  read("unknown_token_id", special.unknown);
  read("seperator_token_id", special.separator);  // spelled so in the format
  read("padding_token_id", special.padding);
  read("mask_token_id", special.mask);
  read("prefix_token_id", special.fim_prefix);  // older names first: the newer ones win
  read("suffix_token_id", special.fim_suffix);
  read("middle_token_id", special.fim_middle);
  read("fim_pre_token_id", special.fim_prefix);
  read("fim_suf_token_id", special.fim_suffix);
  read("fim_mid_token_id", special.fim_middle);
  read("fim_pad_token_id", special.fim_pad);
  read("fim_rep_token_id", special.fim_repo);
  read("fim_sep_token_id", special.fim_separator);
}

void read_flags(const Metadata& gguf, Algorithm algorithm, const PreRule& rule, TokenTable& table) {
  const auto flag = [&](std::string_view name, bool default_value) {
    return gguf.get_bool(fmt::format("tokenizer.ggml.{}", name)).value_or(default_value);
  };
  const bool spm = algorithm == Algorithm::kSpm;
  table.add_bos = flag("add_bos_token", spm || rule.adds_bos) || algorithm == Algorithm::kRawUtf8Bpe;
  table.add_eos = flag("add_eos_token", false);
  table.add_space_prefix = flag("add_space_prefix", spm) && spm;
  if (!spm) table.pre = rule.name;
  table.chat_template = gguf.get_string("tokenizer.chat_template");
  table.tool_template = gguf.get_string("tokenizer.chat_template.tool_use");
  for (const int64_t id : gguf.get_ints("tokenizer.ggml.suppress_tokens").value_or(std::vector<int64_t>())) {
    if (table.vocabulary.contains(id)) table.suppressed.push_back(static_cast<int32_t>(id));
  }
}

TokenTable read_table(const Metadata& gguf, Algorithm algorithm, const PreRule& rule, TokenTable table) {
  read_vocabulary(gguf, table);
  read_special_ids(gguf, algorithm, table);
  read_flags(gguf, algorithm, rule, table);
  apply_well_known_texts(table, gguf.get_string("general.name").value_or(""));
  const bool blank_symbol = algorithm == Algorithm::kSpm || rule.raw_utf8;
  fill_pieces(table, blank_symbol ? TextCoding::kBlankSymbol : TextCoding::kByteAlphabet);
  return table;
}

std::unique_ptr<const RawEncoder> make_raw_encoder(const Metadata& gguf, Algorithm algorithm, const PreRule& rule,
                                                   const TokenTable& table) {
  if (algorithm == Algorithm::kSpm) {
    const auto scores = gguf.get_floats("tokenizer.ggml.scores");
    if (!scores) fail(ErrorKind::kInvalidModel, "tokenizer.ggml.scores is missing; tokenizer model 'llama' needs it");
    require_length("tokenizer.ggml.scores", scores->size(), table.vocabulary.size());
    return std::make_unique<Spm>(table.vocabulary, *scores, table.add_space_prefix, table.special.unknown);
  }
  const std::vector<std::string>* merges = gguf.get_strings("tokenizer.ggml.merges");
  if (merges == nullptr) fail(ErrorKind::kInvalidModel, "tokenizer.ggml.merges is missing; a BPE tokenizer needs it");
  if (rule.raw_utf8) return std::make_unique<RawUtf8Bpe>(table.vocabulary, *merges, rule);
  return std::make_unique<ByteLevelBpe>(table.vocabulary, *merges, rule);
}

}  // namespace

std::unique_ptr<const Tokenizer> make_tokenizer(const Metadata& gguf, std::string_view force_pre) {
  const Algorithm algorithm = read_algorithm(gguf);
  TokenTable table;
  const PreRule& rule = read_pre_rule(gguf, algorithm, force_pre, table);
  table = read_table(gguf, algorithm, rule, std::move(table));
  return make_fragment_tokenizer(
      std::move(table), [&](const TokenTable& final) { return make_raw_encoder(gguf, algorithm, rule, final); });
}

}  // namespace stretto
