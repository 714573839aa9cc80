// Conversations in the model's chat form.
#pragma once

#include <string>

#include "base/json.h"
#include "jinja/chat.h"
#include "text/tokenizer.h"

namespace stretto::app {

// `user` (and `system`, unless empty) rendered with the model's own template, generation prompt included; ready for
// encode() with special tokens parsed. Throws Error(kUnsupported) when the model has no template.
std::string chat_prompt(const Tokenizer& tokenizer, const std::string& system, const std::string& user);

// The template variables bos_token and eos_token.
void set_special_texts(const Tokenizer& tokenizer, jinja::ChatRequest& request);

}  // namespace stretto::app
