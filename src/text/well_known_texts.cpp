// Token texts whose meaning is the same in every vocabulary that contains them. Converters do not always mark them.
#include <algorithm>
#include <cctype>
#include <span>

#include "text/token_table.h"

namespace stretto {
namespace {

constexpr std::string_view kEndOfSentence = "<｜end▁of▁sentence｜>";

constexpr std::string_view kEndOfGeneration[] = {"<|eot_id|>",
                                                 "<|im_end|>",
                                                 "<|end|>",
                                                 "<|return|>",
                                                 "<|call|>",
                                                 "<|flush|>",
                                                 "<|calls|>",
                                                 "<end_of_turn>",
                                                 "<|endoftext|>",
                                                 "</s>",
                                                 "<|eom_id|>",
                                                 "<EOT>",
                                                 "_<EOT>",
                                                 "[EOT]",
                                                 "[EOS]",
                                                 "<|end_of_text|>",
                                                 "<end_of_utterance>",
                                                 "<eos>",
                                                 "<turn|>",
                                                 "<|tool_response>",
                                                 kEndOfSentence,
                                                 "[e~["};

// In this order: the first one present ends a turn.
constexpr std::string_view kEndOfTurn[] = {
    "<|eot_id|>", "<|im_end|>", "<|end|>", "<end_of_turn>", "<|endoftext|>",     "<|end_of_text|>",
    "<EOT>",      "_<EOT>",     "[EOT]",   kEndOfSentence,  "<end_of_utterance>"};

constexpr std::string_view kFimPrefix[] = {"<|fim_prefix|>", "<fim_prefix>", "<fim-prefix>", "<｜fim▁begin｜>",
                                           "<PRE>",          "▁<PRE>",       "<|prefix|>",   "<|code_prefix|>"};
constexpr std::string_view kFimSuffix[] = {"<|fim_suffix|>", "<fim_suffix>", "<fim-suffix>", "<｜fim▁hole｜>",
                                           "<SUF>",          "▁<SUF>",       "<|suffix|>",   "<|code_suffix|>"};
constexpr std::string_view kFimMiddle[] = {"<|fim_middle|>", "<fim_middle>", "<fim-middle>", "<｜fim▁end｜>",
                                           "<MID>",          "▁<MID>",       "<|middle|>",   "<|code_middle|>"};
constexpr std::string_view kFimPad[] = {"<|fim_pad|>", "<fim_pad>", "<fim-pad>", "<PAD>", "[PAD]"};
constexpr std::string_view kFimRepo[] = {"<|fim_repo|>", "<|repo_name|>", "<fim-repo>", "<reponame>", "<REPO>"};
constexpr std::string_view kFimSeparator[] = {"<|file_sep|>"};

void promote_infill_texts(TokenTable& table, std::span<const std::string_view> texts, std::optional<int32_t>& special) {
  for (const std::string_view text : texts) {
    const int32_t id = table.vocabulary.find(text);
    if (id < 0) continue;
    table.vocabulary.set_type(id, TokenType::kControl);
    if (!special) special = id;
  }
}

class EogSet {
 public:
  explicit EogSet(std::vector<int32_t>& ids) : ids_(ids) {}
  void add(int32_t id) {
    if (std::find(ids_.begin(), ids_.end(), id) == ids_.end()) ids_.push_back(id);
  }
  void add(std::optional<int32_t> id) {
    if (id) add(*id);
  }
  void remove(int32_t id) { ids_.erase(std::remove(ids_.begin(), ids_.end(), id), ids_.end()); }

 private:
  std::vector<int32_t>& ids_;
};

// Returns whether the id may be treated as the control token that its text suggests: in Qwen-style vocabularies "</s>"
// is an ordinary merge product.
bool may_promote(const Vocabulary& vocabulary, int32_t id, std::string_view text) {
  return id >= 0 && !(text == "</s>" && vocabulary.type(id) == TokenType::kNormal);
}

void find_turn_ends(TokenTable& table) {
  Vocabulary& vocabulary = table.vocabulary;
  if (!table.special.eot) {
    for (const std::string_view text : kEndOfTurn) {
      const int32_t id = vocabulary.find(text);
      if (id < 0) continue;
      table.special.eot = id;
      vocabulary.set_type(id, TokenType::kControl);
      break;
    }
  }
  if (!table.special.eom) {
    const int32_t id = vocabulary.find("<|eom_id|>");
    if (id >= 0) table.special.eom = id;
  }
}

// Formats in which a text of the lists above means something else.
void apply_exceptions(Vocabulary& vocabulary, EogSet& eog) {
  const auto has = [&](std::string_view text) { return vocabulary.find(text) >= 0; };
  const int32_t end = vocabulary.find("<|end|>");
  if (end >= 0 && ((has("<|return|>") && has("<|call|>")) || (has("<|calls|>") && has("<|flush|>")))) {
    eog.remove(end);
    vocabulary.set_type(end, TokenType::kUserDefined);
  }
  const int32_t sentence_end = vocabulary.find("</s>");
  if (sentence_end >= 0 && has("<|tool_response>")) {
    eog.remove(sentence_end);
    vocabulary.set_type(sentence_end, TokenType::kNormal);
  }
  for (const std::string_view text : {"<|channel|>", "<|message|>", "<|start|>", "<|constrain|>"}) {
    const int32_t id = vocabulary.find(text);
    if (id >= 0) vocabulary.set_type(id, TokenType::kUserDefined);
  }
}

void mark_swallowing(TokenTable& table, std::string_view model_name) {
  std::string name(model_name);
  std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return std::tolower(c); });
  if (name.find("phi-3") == std::string::npos && name.find("phi3") == std::string::npos) return;
  const Vocabulary& vocabulary = table.vocabulary;
  table.swallows_whitespace.resize(vocabulary.size());
  for (int32_t id = 0; id < vocabulary.size(); ++id) {
    const std::string_view text = vocabulary.text(id);
    table.swallows_whitespace[id] =
        is_special(vocabulary.type(id)) && text != "<unk>" && text != "<s>" && text != "<|endoftext|>";
  }
}

}  // namespace

void apply_well_known_texts(TokenTable& table, std::string_view model_name) {
  Vocabulary& vocabulary = table.vocabulary;
  SpecialIds& special = table.special;
  EogSet eog(table.eog_ids);
  promote_infill_texts(table, kFimPrefix, special.fim_prefix);
  promote_infill_texts(table, kFimSuffix, special.fim_suffix);
  promote_infill_texts(table, kFimMiddle, special.fim_middle);
  promote_infill_texts(table, kFimPad, special.fim_pad);
  promote_infill_texts(table, kFimRepo, special.fim_repo);
  promote_infill_texts(table, kFimSeparator, special.fim_separator);
  for (const std::string_view text : kEndOfGeneration) {
    const int32_t id = vocabulary.find(text);
    if (!may_promote(vocabulary, id, text)) continue;
    vocabulary.set_type(id, TokenType::kControl);
    eog.add(id);
  }
  find_turn_ends(table);
  for (const std::optional<int32_t> id :
       {special.eos, special.eot, special.eom, special.fim_pad, special.fim_repo, special.fim_separator}) {
    eog.add(id);
  }
  apply_exceptions(vocabulary, eog);
  std::sort(table.eog_ids.begin(), table.eog_ids.end());
  mark_swallowing(table, model_name);
}

}  // namespace stretto
