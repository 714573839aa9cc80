// Finds out what forms of messages a template copes with, by rendering short conversations.
#pragma once

#include <nlohmann/json.hpp>

#include <optional>
#include <string>

#include "jinja/jinja.h"

namespace stretto::jinja {

// How an assistant message that calls tools is given to a template.
struct ToolCallForm {
  bool arguments_are_text = false;
  bool content_is_none = false;  // for messages without content
};

class ChatProbe {
 public:
  // `context` holds the variables of the request; its messages are replaced. All three must outlive this.
  ChatProbe(const Template& chat_template, const nlohmann::ordered_json& context, const RenderOptions& options)
      : template_(chat_template), context_(context), options_(options) {}

  // The form in which name and arguments of a call show as they should; of several, the first in the order
  // {object, text} x {"", none} with content "" preferred.
  ToolCallForm tool_call_form() const;

  // Whether a list of text parts as the content of a message with this role gives the same as the plain text.
  bool takes_parts(const std::string& role) const;

  // Whether a conversation that begins with a system message fails where the same without it does not.
  bool refuses_system() const;

 private:
  std::optional<std::string> try_render(nlohmann::ordered_json messages) const;

  const Template& template_;
  const nlohmann::ordered_json& context_;
  const RenderOptions& options_;
};

}  // namespace stretto::jinja
