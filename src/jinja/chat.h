// A conversation in the form of the OpenAI API, rendered by a model's chat template into the prompt's text.
#pragma once

#include <nlohmann/json.hpp>

#include <string>
#include <string_view>

#include "jinja/jinja.h"

namespace stretto::jinja {

struct ChatRequest {
  nlohmann::ordered_json messages;  // array of {role, content, tool_calls, tool_call_id, reasoning_content, ...}
  nlohmann::ordered_json tools;     // array of tools; null or empty: the template does not see the variable
  // More variables for the template (enable_thinking, reasoning_effort, date_string, ...); object or null. They may
  // replace bos_token and eos_token, but not messages, tools and add_generation_prompt.
  nlohmann::ordered_json kwargs;
  bool add_generation_prompt = true;
  std::string bos_token;
  std::string eos_token;
};

// Templates expect different forms of a message than requests have. What a template copes with is found by rendering
// short conversations with it, only when the request has the form in question:
//  * tool_calls[].function.arguments, a JSON text: an object, or the text where the template needs that;
//  * the content of an assistant message that only calls tools: "", or none where the calls do not show otherwise;
//  * role developer: system, unless the template mentions developer;
//  * content as a list of text parts: the list, or the texts joined by line breaks;
//  * system messages that the template refuses: put before the first user message.
// Throws Error(kBadArgument) for messages of another shape and for parts that the template cannot take, TemplateError
// for what the template refuses.
std::string render_chat(const Template& chat_template, const ChatRequest& request, const RenderOptions& options = {});

// The prompt without a leading bos and a trailing eos text, for tokenizers that add these tokens themselves.
std::string_view without_added_tokens(std::string_view prompt, std::string_view bos_token, std::string_view eos_token,
                                      bool adds_bos, bool adds_eos);

}  // namespace stretto::jinja
