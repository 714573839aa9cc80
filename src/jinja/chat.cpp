#include "jinja/chat.h"

#include <map>

#include "base/json.h"
#include "jinja/chat_probe.h"

namespace stretto::jinja {
namespace {

using nlohmann::ordered_json;

void check_shape(const ChatRequest& request) {
  if (!request.messages.is_array())
    fail(ErrorKind::kBadArgument, "messages: an array is needed, not {}", request.messages.type_name());
  for (size_t i = 0; i < request.messages.size(); ++i) {
    const ordered_json& message = request.messages[i];
    if (!message.is_object())
      fail(ErrorKind::kBadArgument, "messages[{}]: an object is needed, not {}", i, message.type_name());
    const auto role = message.find("role");
    if (role == message.end() || !role->is_string())
      fail(ErrorKind::kBadArgument, "messages[{}].role: a string is needed", i);
    const auto calls = message.find("tool_calls");
    if (calls != message.end() && !calls->is_null() && !calls->is_array()) {
      fail(ErrorKind::kBadArgument, "messages[{}].tool_calls: an array is needed, not {}", i, calls->type_name());
    }
  }
  if (!request.tools.is_null() && !request.tools.is_array()) {
    fail(ErrorKind::kBadArgument, "tools: an array is needed, not {}", request.tools.type_name());
  }
  if (!request.kwargs.is_null() && !request.kwargs.is_object()) {
    fail(ErrorKind::kBadArgument, "template arguments: an object is needed, not {}", request.kwargs.type_name());
  }
  for (const char* name : {"messages", "tools", "add_generation_prompt"}) {
    if (request.kwargs.is_object() && request.kwargs.contains(name)) {
      fail(ErrorKind::kBadArgument, "template arguments: '{}' has its own place in the request", name);
    }
  }
}

// The variables of the template, without messages.
ordered_json make_context(const ChatRequest& request) {
  ordered_json context = ordered_json::object();
  context["messages"] = ordered_json::array();
  if (request.tools.is_array() && !request.tools.empty()) context["tools"] = request.tools;
  context["add_generation_prompt"] = request.add_generation_prompt;
  context["bos_token"] = request.bos_token;
  context["eos_token"] = request.eos_token;
  if (request.kwargs.is_object()) {
    for (const auto& [name, value] : request.kwargs.items()) context[name] = value;
  }
  return context;
}

bool has_calls(const ordered_json& message) { return message.contains("tool_calls"); }

bool has_no_content(const ordered_json& message) {
  return !message.contains("content") || message["content"].is_null();
}

// An argument text that is no JSON stays a text.
void set_argument_form(ordered_json& arguments, bool as_text) {
  if (arguments.is_string() == as_text) return;
  if (as_text) {
    arguments = dump_json(arguments);
    return;
  }
  JsonOptions options;
  options.error_kind = ErrorKind::kBadArgument;
  try {
    arguments = parse_json(arguments.get_ref<const std::string&>(), "arguments", options);
  } catch (const Error&) {
    return;
  }
}

void set_argument_forms(ordered_json& calls, bool as_text) {
  for (ordered_json& call : calls) {
    if (!call.is_object() || !call.contains("function") || !call["function"].is_object()) continue;
    ordered_json& function = call["function"];
    if (function.contains("arguments")) set_argument_form(function["arguments"], as_text);
  }
}

class Normalizer {
 public:
  Normalizer(const Template& chat_template, const ordered_json& context, const RenderOptions& options)
      : probe_(chat_template, context, options),
        knows_developer_(chat_template.source().find("developer") != std::string::npos) {}

  ordered_json run(ordered_json messages) {
    for (ordered_json& message : messages) {
      if (message["role"] == "developer" && !knows_developer_) message["role"] = "system";
      // Clients send null or [] for no calls; templates ask whether the key is there.
      if (has_calls(message) && message["tool_calls"].empty()) message.erase("tool_calls");
    }
    normalize_calls(messages);
    for (size_t i = 0; i < messages.size(); ++i) {
      if (messages[i].contains("content") && messages[i]["content"].is_array()) normalize_parts(messages[i], i);
    }
    return messages;
  }

 private:
  void normalize_calls(ordered_json& messages) {
    std::optional<ToolCallForm> form;
    for (ordered_json& message : messages) {
      const bool calls = has_calls(message);
      if (calls && !form) form = probe_.tool_call_form();
      if (calls) set_argument_forms(message["tool_calls"], form->arguments_are_text);
      if (message["role"] != "assistant" || !has_no_content(message)) continue;
      message["content"] = calls && form->content_is_none ? ordered_json(nullptr) : ordered_json("");
    }
  }

  bool takes_parts(const std::string& role) {
    const auto [found, is_new] = takes_parts_.emplace(role, false);
    if (is_new) found->second = probe_.takes_parts(role);
    return found->second;
  }

  void normalize_parts(ordered_json& message, size_t index) {
    if (takes_parts(message["role"].get<std::string>())) return;
    std::string joined;
    bool is_first = true;
    for (const ordered_json& part : message["content"]) {
      const bool is_text = part.is_object() && part.contains("type") && part["type"] == "text" &&
                           part.contains("text") && part["text"].is_string();
      if (!is_text)
        fail(ErrorKind::kBadArgument, "messages[{}].content: this model's chat template takes text parts only", index);
      if (!is_first) joined += '\n';
      joined += part["text"].get_ref<const std::string&>();
      is_first = false;
    }
    message["content"] = joined;
  }

  ChatProbe probe_;
  bool knows_developer_;
  std::map<std::string, bool> takes_parts_;
};

// The text of a message whose content is a string or a list of text parts.
std::string text_of(const ordered_json& message) {
  if (has_no_content(message)) return "";
  const ordered_json& content = message["content"];
  if (content.is_string()) return content.get<std::string>();
  std::string joined;
  if (!content.is_array()) return joined;
  for (const ordered_json& part : content) {
    if (!part.is_object() || !part.contains("text") || !part["text"].is_string()) continue;
    if (!joined.empty()) joined += '\n';
    joined += part["text"].get_ref<const std::string&>();
  }
  return joined;
}

// The messages without system messages; their texts, each with a line break, stand before the first user message.
ordered_json without_system(const ordered_json& messages) {
  std::string system;
  ordered_json kept = ordered_json::array();
  for (const ordered_json& message : messages) {
    if (message["role"] == "system") {
      system += text_of(message) + '\n';
    } else {
      kept.push_back(message);
    }
  }
  for (ordered_json& message : kept) {
    if (message["role"] != "user") continue;
    if (message.contains("content") && message["content"].is_array()) {
      message["content"].insert(message["content"].begin(), ordered_json::object({{"type", "text"}, {"text", system}}));
    } else {
      message["content"] = system + text_of(message);
    }
    return kept;
  }
  system.pop_back();
  kept.insert(kept.begin(), ordered_json::object({{"role", "user"}, {"content", system}}));
  return kept;
}

bool has_system(const ordered_json& messages) {
  for (const ordered_json& message : messages) {
    if (message["role"] == "system") return true;
  }
  return false;
}

}  // namespace

std::string render_chat(const Template& chat_template, const ChatRequest& request, const RenderOptions& options) {
  check_shape(request);
  ordered_json context = make_context(request);
  ordered_json messages = Normalizer(chat_template, context, options).run(request.messages);
  context["messages"] = messages;
  try {
    return chat_template.render(context, options);
  } catch (const TemplateError&) {
    if (!has_system(messages) || !ChatProbe(chat_template, context, options).refuses_system()) throw;
  }
  context["messages"] = without_system(messages);
  return chat_template.render(context, options);
}

std::string_view without_added_tokens(std::string_view prompt, std::string_view bos_token, std::string_view eos_token,
                                      bool adds_bos, bool adds_eos) {
  if (adds_bos && prompt.substr(0, bos_token.size()) == bos_token) prompt.remove_prefix(bos_token.size());
  const bool ends = prompt.size() >= eos_token.size() && prompt.substr(prompt.size() - eos_token.size()) == eos_token;
  if (adds_eos && ends) prompt.remove_suffix(eos_token.size());
  return prompt;
}

}  // namespace stretto::jinja
