// The tokenizer of a Hugging Face model directory: tokenizer.json, run exactly as it is written, with its side files.
// Without one, the first of vocab.json with merges.txt, tokenizer.model (SentencePiece) and tekken.json that is there;
// the last two behave as tokenizers of GGUF files do.
//
// Ids are those of the `tokenizers` library. Differences from a tokenizer made from a GGUF file of the same model:
// decode() does what the file's decoder says and skips ids that stand for nothing; text that is not valid UTF-8 counts
// as U+FFFD per byte; add_special adds what the file's post-processor says.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "text/tokenizer.h"

namespace stretto {

class Checkpoint;

// Texts of files of one directory.
struct HfTokenizerFiles {
  std::optional<std::string> tokenizer_json;
  std::optional<std::string> vocab_json;  // with merges_txt: only used without tokenizer_json
  std::optional<std::string> merges_txt;
  std::optional<std::string> tokenizer_model;  // SentencePiece; only without the three above
  std::optional<std::string> tekken_json;      // only without all of the above
  std::optional<std::string> tokenizer_config_json;
  std::optional<std::string> special_tokens_map_json;
  std::optional<std::string> added_tokens_json;
  std::optional<std::string> generation_config_json;
  std::optional<std::string> config_json;
  std::optional<std::string> chat_template_jinja;
  std::optional<std::string> tool_use_jinja;  // additional_chat_templates/tool_use.jinja
  std::optional<std::string> chat_template_json;
};

struct HfTokenizerOptions {
  // bos before a text when add_special asks for it; not given: as the post-processor of the file says.
  std::optional<bool> add_bos = std::nullopt;
  // Replaces the first expression of the pre-tokenizer by the one of the tekken family: some Mistral files of
  // transformers < 5 carry another one by mistake.
  bool fix_mistral_regex = false;
};

// The files that `checkpoint` has. Throws Error when one is larger than 256 MiB or not readable.
HfTokenizerFiles read_hf_tokenizer_files(const Checkpoint& checkpoint);

// Whether there is a vocabulary that make_hf_tokenizer() can read.
bool has_hf_tokenizer(const HfTokenizerFiles& files);

// Throws Error: kNotFound without a vocabulary; kInvalidModel for a broken or contradictory file, kUnsupported for a
// component that is not known, both with file, JSON path and value.
std::unique_ptr<const Tokenizer> make_hf_tokenizer(const HfTokenizerFiles& files,
                                                   const HfTokenizerOptions& options = {});

struct HfChatTemplate {
  std::string name;  // "default", "tool_use", ...
  std::string source;
};

// All chat templates of the directory, the one of Tokenizer::chat_template() ("default") first if there is one.
// chat_template.jinja and additional_chat_templates/tool_use.jinja win over tokenizer_config.json, which wins over
// chat_template.json.
std::vector<HfChatTemplate> read_hf_chat_templates(const HfTokenizerFiles& files);

}  // namespace stretto
