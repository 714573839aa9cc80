// A single question in the model's chat form.
#pragma once

#include <string>

#include "text/tokenizer.h"

namespace stretto::app {

// `user` (and `system`, unless empty) rendered with the model's own template, generation prompt included.
// Throws Error(kUnsupported) when the model has no template.
std::string chat_prompt(const Tokenizer& tokenizer, const std::string& system, const std::string& user);

}  // namespace stretto::app
