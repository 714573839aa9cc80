#include "jinja/chat_probe.h"

namespace stretto::jinja {
namespace {

using nlohmann::ordered_json;

// Words that occur in no template.
constexpr const char* kName = "probe_function_7c1";
constexpr const char* kKey = "probe_key_7c1";
constexpr const char* kValue = "probe_value_7c1";
constexpr const char* kText = "probe text 7c1";
constexpr const char* kCallId = "call00001";  // nine letters and digits: some templates insist

ordered_json message(const char* role, const ordered_json& content) {
  return ordered_json::object({{"role", role}, {"content", content}});
}

ordered_json user_message() { return message("user", "probe question"); }

ordered_json assistant_call(const ToolCallForm& form) {
  const ordered_json arguments = ordered_json::object({{kKey, kValue}});
  ordered_json function = ordered_json::object({{"name", kName}});
  function["arguments"] = form.arguments_are_text ? ordered_json(arguments.dump()) : arguments;
  ordered_json caller = message("assistant", form.content_is_none ? ordered_json(nullptr) : ordered_json(""));
  caller["tool_calls"] =
      ordered_json::array({ordered_json::object({{"id", kCallId}, {"type", "function"}, {"function", function}})});
  return caller;
}

ordered_json tool_message(const ordered_json& content) {
  return ordered_json::object({{"role", "tool"}, {"name", kName}, {"tool_call_id", kCallId}, {"content", content}});
}

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

// 0: the call does not show; 1: its arguments show, but not as JSON or as the template's own format; 2: as they should.
int quality(const std::optional<std::string>& text, const ToolCallForm& form) {
  if (!text || !contains(*text, kName) || !contains(*text, kValue)) return 0;
  const std::string key = kKey;
  // A dict as Python prints it; a JSON text quoted once more.
  const bool is_spoilt = form.arguments_are_text ? contains(*text, "\\\"" + key) : contains(*text, "{'" + key);
  return is_spoilt ? 1 : 2;
}

}  // namespace

std::optional<std::string> ChatProbe::try_render(ordered_json messages) const {
  ordered_json context = context_;
  context["messages"] = std::move(messages);
  context["add_generation_prompt"] = false;
  try {
    return template_.render(context, options_);
  } catch (const TemplateError&) {
    return std::nullopt;
  }
}

ToolCallForm ChatProbe::tool_call_form() const {
  ToolCallForm best;
  int best_quality = 0;
  for (const ToolCallForm form : {ToolCallForm{false, false}, {true, false}, {false, true}, {true, true}}) {
    const auto conversation = ordered_json::array({user_message(), assistant_call(form), tool_message("probe result")});
    const int found = quality(try_render(conversation), form);
    if (found == 2) return form;
    if (found > best_quality) {
      best = form;
      best_quality = found;
    }
  }
  return best;
}

bool ChatProbe::takes_parts(const std::string& role) const {
  const auto conversation = [&](const ordered_json& content) {
    if (role == "tool") {
      const ToolCallForm form = tool_call_form();
      return ordered_json::array({user_message(), assistant_call(form), tool_message(content)});
    }
    const ordered_json probe = message(role.c_str(), content);
    if (role == "user") return ordered_json::array({probe});
    if (role == "assistant") return ordered_json::array({user_message(), probe, user_message()});
    return ordered_json::array({probe, user_message()});
  };
  const ordered_json part = ordered_json::object({{"type", "text"}, {"text", kText}});
  const auto with_parts = try_render(conversation(ordered_json::array({part})));
  return with_parts && contains(*with_parts, kText) && with_parts == try_render(conversation(kText));
}

bool ChatProbe::refuses_system() const {
  return !try_render(ordered_json::array({message("system", kText), user_message()})) &&
         try_render(ordered_json::array({user_message()}));
}

}  // namespace stretto::jinja
