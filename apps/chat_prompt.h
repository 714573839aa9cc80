// Conversations in the model's chat form.
#pragma once

#include <string>

#include "base/json.h"
#include "jinja/chat.h"
#include "text/tokenizer.h"

namespace stretto::app {

// The model's own template. Throws Error(kUnsupported) when it has none, TemplateError when it cannot be parsed.
jinja::Template parse_chat_template(const Tokenizer& tokenizer);

// Messages as text, generation prompt included; ready for encode() with special tokens parsed.
std::string render_prompt(const jinja::Template& chat_template, const Tokenizer& tokenizer, const Json& messages);

// A single question, with a system message unless `system` is empty.
std::string chat_prompt(const Tokenizer& tokenizer, const std::string& system, const std::string& user);

// The template variables bos_token and eos_token.
void set_special_texts(const Tokenizer& tokenizer, jinja::ChatRequest& request);

}  // namespace stretto::app
