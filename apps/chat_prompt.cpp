#include "chat_prompt.h"

#include "base/error.h"
#include "jinja/chat.h"
#include "jinja/jinja.h"

namespace stretto::app {
namespace {

std::string text_of(const Tokenizer& tokenizer, std::optional<int32_t> id) {
  return id ? std::string(tokenizer.text(*id)) : std::string();
}

}  // namespace

void set_special_texts(const Tokenizer& tokenizer, jinja::ChatRequest& request) {
  request.bos_token = text_of(tokenizer, tokenizer.bos());
  request.eos_token = text_of(tokenizer, tokenizer.eos());
}

jinja::Template parse_chat_template(const Tokenizer& tokenizer) {
  if (!tokenizer.chat_template())
    fail(ErrorKind::kUnsupported, "this model has no chat template; `run` without --chat completes text as it is");
  return jinja::Template::parse(*tokenizer.chat_template());
}

std::string render_prompt(const jinja::Template& chat_template, const Tokenizer& tokenizer, const Json& messages) {
  jinja::ChatRequest request;
  request.messages = messages;
  set_special_texts(tokenizer, request);
  const std::string text = jinja::render_chat(chat_template, request);
  return std::string(jinja::without_added_tokens(text, request.bos_token, request.eos_token, tokenizer.adds_bos(),
                                                 tokenizer.adds_eos()));
}

std::string chat_prompt(const Tokenizer& tokenizer, const std::string& system, const std::string& user) {
  Json messages = Json::array();
  if (!system.empty()) messages.push_back({{"role", "system"}, {"content", system}});
  messages.push_back({{"role", "user"}, {"content", user}});
  return render_prompt(parse_chat_template(tokenizer), tokenizer, messages);
}

}  // namespace stretto::app
