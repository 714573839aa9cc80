#include "jinja/chat.h"

#include "jinja/rendering.h"

namespace stretto::jinja {
namespace {

std::string chat(const std::string& source, const char* messages, const char* tools = "null",
                 const char* kwargs = "null") {
  ChatRequest request;
  request.messages = ordered_json::parse(messages);
  request.tools = ordered_json::parse(tools);
  request.kwargs = ordered_json::parse(kwargs);
  request.bos_token = "<s>";
  request.eos_token = "</s>";
  return render_chat(Template::parse(source), request, fixed_time());
}

const char* const kSimple =
    "{{ bos_token }}{% for m in messages %}{{ '[' + m.role + ']' + m.content + eos_token }}{% endfor %}{% if "
    "add_generation_prompt %}[assistant]{% endif %}";
const char* const kCall = R"([{"role": "user", "content": "q"}, {"role": "assistant", "content": null, "tool_calls":
    [{"id": "call00009", "type": "function", "function": {"name": "f", "arguments": "{\"a\": 1.0, \"b\": \"x\"}"}}]}])";

TEST(Chat, Variables) {
  EXPECT_EQ(chat(kSimple, R"([{"role": "user", "content": "hi"}])"), "<s>[user]hi</s>[assistant]");
  ChatRequest request;
  request.messages = ordered_json::parse(R"([{"role": "user", "content": "hi"}])");
  request.add_generation_prompt = false;
  EXPECT_EQ(render_chat(Template::parse(kSimple), request), "[user]hi");
  const char* variables = "{{ tools is defined }}{{ enable_thinking is defined }}{{ x }}{{ bos_token }}";
  EXPECT_EQ(chat(variables, "[]"), "FalseFalse<s>");
  EXPECT_EQ(chat(variables, "[]", "[]"), "FalseFalse<s>");
  EXPECT_EQ(chat(variables, "[]", "[{}]", R"({"enable_thinking": false, "x": [1], "bos_token": "B"})"), "TrueTrue[1]B");
  EXPECT_EQ(chat("{{ messages[0].reasoning_content }}{{ messages[0].keys() | join }}",
                 R"([{"role": "assistant", "content": "", "reasoning_content": "hm"}])"),
            "hmrolecontentreasoning_content");
}

TEST(Chat, RefusesOtherShapes) {
  const auto refused = [](const char* messages, const char* tools = "null", const char* kwargs = "null") {
    try {
      chat(kSimple, messages, tools, kwargs);
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::kBadArgument);
      return std::string(e.what());
    }
    ADD_FAILURE() << messages;
    return std::string();
  };
  EXPECT_EQ(refused("{}"), "messages: an array is needed, not object");
  EXPECT_EQ(refused(R"([{"role": "user", "content": "a"}, 5])"), "messages[1]: an object is needed, not number");
  EXPECT_EQ(refused(R"([{"content": "a"}])"), "messages[0].role: a string is needed");
  EXPECT_EQ(refused(R"([{"role": "user", "content": "a", "tool_calls": {}}])"),
            "messages[0].tool_calls: an array is needed, not object");
  EXPECT_EQ(refused("[]", "{}"), "tools: an array is needed, not object");
  EXPECT_EQ(refused("[]", "null", "[]"), "template arguments: an object is needed, not array");
  EXPECT_EQ(refused("[]", "null", R"({"messages": []})"),
            "template arguments: 'messages' has its own place in the request");
}

TEST(Chat, ArgumentsBecomeObjectsWhereTheTemplateReadsThem) {
  const std::string head =
      "{% for m in messages %}{% for c in m.tool_calls or [] %}{% set f = c.function %}{{ f.name }}:";
  const std::string tail = "{% endfor %}{% endfor %}";
  EXPECT_EQ(chat(head + "{{ f.arguments | tojson }}" + tail, kCall), "f:{\"a\": 1.0, \"b\": \"x\"}");
  EXPECT_EQ(chat(head + "{% for k, v in f.arguments | items %}{{ k }}={{ v }};{% endfor %}" + tail, kCall),
            "f:a=1.0;b=x;");
  EXPECT_EQ(chat(head + "{{ '' + f.arguments }}" + tail, kCall), "f:{\"a\": 1.0, \"b\": \"x\"}");
  EXPECT_EQ(chat(head + "{{ f.arguments }}" + tail, kCall), "f:{\"a\": 1.0, \"b\": \"x\"}");
  EXPECT_EQ(chat(head + "{{ f.arguments if f.arguments is string else f.arguments | tojson }}" + tail, kCall),
            "f:{\"a\": 1.0, \"b\": \"x\"}");
  const char* broken = R"([{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{oops"}}]}])";
  EXPECT_EQ(chat(head + "{{ f.arguments if f.arguments is string else f.arguments | tojson }}" + tail, broken),
            "f:{oops");
}

TEST(Chat, ContentOfMessagesThatOnlyCall) {
  EXPECT_EQ(chat("{% for m in messages %}{{ m.content is none }}{{ '' + m.content }};{% endfor %}", kCall),
            "Falseq;False;");
  // A template that shows calls only where the content is none gets none.
  const char* insists =
      "{% for m in messages %}{% if m.content is none %}{% for c in m.tool_calls %}<{{ c.function.name + "
      "c.function.arguments }}>{% endfor %}{% else %}{{ m.content }}{% endif %}{% endfor %}";
  EXPECT_EQ(chat(insists, kCall), "q<f{\"a\": 1.0, \"b\": \"x\"}>");
  EXPECT_EQ(chat("{% for m in messages %}{{ 'tool_calls' in m }}[{{ m.content }}]{% endfor %}",
                 R"([{"role": "assistant", "content": null, "tool_calls": []}])"),
            "False[]");
}

TEST(Chat, DeveloperIsSystemUnlessKnown) {
  const char* messages = R"([{"role": "developer", "content": "d"}, {"role": "user", "content": "u"}])";
  EXPECT_EQ(chat(kSimple, messages), "<s>[system]d</s>[user]u</s>[assistant]");
  EXPECT_EQ(chat(std::string(kSimple) + "{# developer #}", messages), "<s>[developer]d</s>[user]u</s>[assistant]");
}

TEST(Chat, ContentParts) {
  const char* messages =
      R"([{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}])";
  EXPECT_EQ(chat(kSimple, messages), "<s>[user]a\nb</s>[assistant]");
  EXPECT_EQ(chat("{% for m in messages %}{{ m.content | trim }}{% endfor %}", messages), "a\nb");
  const char* copes =
      "{% for m in messages %}{% if m.content is string %}{{ m.content }}{% else %}{% for p in m.content %}{{ p.text "
      "if p.type == 'text' else '<img>' }}{% endfor %}{% endif %}{% endfor %}";
  EXPECT_EQ(chat(copes, messages), "ab");
  const char* image = R"([{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image_url"}]}])";
  EXPECT_EQ(chat(copes, image), "a<img>");
  EXPECT_THROW(chat(kSimple, image), Error);
}

TEST(Chat, SystemMessagesThatTheTemplateRefuses) {
  const std::string refuses = std::string(
                                  "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system') "
                                  "}}{% endif %}{% endfor %}") +
                              kSimple;
  EXPECT_EQ(
      chat(
          refuses,
          R"([{"role": "system", "content": "S"}, {"role": "user", "content": "u"}, {"role": "user", "content": "v"}])"),
      "<s>[user]S\nu</s>[user]v</s>[assistant]");
  EXPECT_EQ(
      chat(refuses,
           R"([{"role": "system", "content": [{"type": "text", "text": "S"}]}, {"role": "user", "content": "u"}])"),
      "<s>[user]S\nu</s>[assistant]");
  EXPECT_EQ(chat(refuses, R"([{"role": "system", "content": "S"}])"), "<s>[user]S</s>[assistant]");
  // A template that takes system messages keeps its word on where they may stand.
  const std::string first_only = std::string(
                                     "{% for m in messages %}{% if m.role == 'system' and not loop.first %}{{ "
                                     "raise_exception('system first') }}{% endif %}{% endfor %}") +
                                 kSimple;
  try {
    chat(first_only, R"([{"role": "user", "content": "u"}, {"role": "system", "content": "S"}])");
    FAIL();
  } catch (const TemplateError& e) {
    EXPECT_EQ(e.detail(), "system first");
  }
}

TEST(Chat, AddedTokens) {
  EXPECT_EQ(without_added_tokens("<s>a</s>", "<s>", "</s>", true, true), "a");
  EXPECT_EQ(without_added_tokens("<s>a</s>", "<s>", "</s>", false, false), "<s>a</s>");
  EXPECT_EQ(without_added_tokens("<s><s>a", "<s>", "</s>", true, true), "<s>a");
  EXPECT_EQ(without_added_tokens("a", "", "", true, true), "a");
}

}  // namespace
}  // namespace stretto::jinja
