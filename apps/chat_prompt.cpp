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

std::string chat_prompt(const Tokenizer& tokenizer, const std::string& system, const std::string& user) {
  if (!tokenizer.chat_template())
    fail(ErrorKind::kUnsupported, "--chat: this model has no chat template; leave --chat out to complete the text as it is");
  jinja::ChatRequest request;
  request.messages = Json::array();
  if (!system.empty()) request.messages.push_back({{"role", "system"}, {"content", system}});
  request.messages.push_back({{"role", "user"}, {"content", user}});
  set_special_texts(tokenizer, request);
  std::string text = jinja::render_chat(jinja::Template::parse(*tokenizer.chat_template(), "chat template"), request);
  // encode() adds bos itself where the model wants it.
  if (tokenizer.adds_bos() && !request.bos_token.empty() && text.starts_with(request.bos_token))
    text.erase(0, request.bos_token.size());
  return text;
}

}  // namespace stretto::app
