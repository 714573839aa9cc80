// What the files beside tokenizer.json say: special texts, further added tokens, stop ids, chat templates.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "text/hf/added_tokens.h"
#include "text/hf/json_fields.h"
#include "text/hf_tokenizer.h"

namespace stretto::hf {

struct NamedText {
  std::string name;  // "bos_token", "eos_token", ...
  AddedToken token;
};

struct SideFiles {
  std::vector<NamedText> named;        // at most one of a name
  std::vector<AddedToken> replacing;   // added_tokens_decoder: flags of known texts are replaced
  std::vector<AddedToken> if_new;      // count only when their text is not there yet
  std::vector<int64_t> stop_ids;       // of generation_config.json, else of config.json
  std::string stop_source;             // the file they come from
  std::optional<int64_t> bos_id;       // config.json
  std::vector<int64_t> suppressed;     // generation_config.json
  std::optional<uint64_t> vocab_size;  // config.json: rows of the embedding
  std::optional<bool> add_bos_flag;    // tokenizer_config.json; not obeyed, only reported
  std::string model_type;              // config.json
  std::string transformers_version;    // config.json
  bool split_special_tokens = false;

  const std::string* text(std::string_view name) const;  // nullptr: none
};

// Throws Error(kInvalidModel).
SideFiles read_side_files(const HfTokenizerFiles& files, Warnings& warnings);

// The tokens of tokenizer.json (`root`) with those that the files beside it add, with ids. Throws Error(kInvalidModel),
// also when an added token lies behind the rows of the model; tokenizer.json itself may have such tokens.
std::vector<AddedToken> collect_added(Fields& root, const SideFiles& side, const BpeModel& model, Warnings& warnings);

}  // namespace stretto::hf
