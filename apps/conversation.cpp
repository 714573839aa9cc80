#include "conversation.h"

#include <algorithm>

#include "base/error.h"
#include "chat_prompt.h"

namespace stretto::app {

Conversation::Conversation(Session session, const Tokenizer& tokenizer, std::string system)
    : session_(std::move(session)), tokenizer_(tokenizer), template_(parse_chat_template(tokenizer)) {
  set_system(std::move(system));
}

void Conversation::set_system(std::string system) {
  if (!messages_.empty() && messages_[0].at("role") == "system") messages_.erase(0);
  if (!system.empty()) messages_.insert(messages_.begin(), Json{{"role", "system"}, {"content", std::move(system)}});
}

void Conversation::clear() {
  const bool system = !messages_.empty() && messages_[0].at("role") == "system";
  messages_.erase(messages_.begin() + (system ? 1 : 0), messages_.end());
}

bool Conversation::undo() {
  while (!messages_.empty() && messages_.back().at("role") != "user") {
    if (messages_.back().at("role") == "system") return false;
    messages_.erase(messages_.size() - 1);
  }
  if (messages_.empty()) return false;
  messages_.erase(messages_.size() - 1);
  return true;
}

void Conversation::set_messages(Json messages) {
  if (!messages.is_array()) fail(ErrorKind::kBadArgument, "a conversation is a JSON array of messages");
  for (const Json& m : messages) {
    if (!m.is_object() || !m.contains("role") || !m.contains("content"))
      fail(ErrorKind::kBadArgument, "each message needs role and content");
  }
  messages_ = std::move(messages);
}

std::vector<int32_t> Conversation::prompt() const {
  return tokenizer_.encode(render_prompt(template_, tokenizer_, messages_), {});
}

Generation Conversation::answer(const GenerateParams& params, const GenerateHooks& hooks, uint64_t* cached) {
  const std::vector<int32_t> ids = prompt();
  if (ids.empty()) fail(ErrorKind::kBadArgument, "the prompt is empty");
  if (ids.size() >= session_.context()) {
    fail(
        ErrorKind::kCapacity,
        "context_length_exceeded: the conversation has {} tokens, the context holds {}; /clear it, or start with -c {}",
        ids.size(), session_.context(), 2 * ids.size());
  }
  const std::vector<int32_t>& held = session_.tokens();
  // At least the last token is read again: its logits are wanted.
  const size_t most = std::min(held.size(), ids.size() - 1);
  const auto common = static_cast<size_t>(
      std::mismatch(held.begin(), held.begin() + static_cast<int64_t>(most), ids.begin()).first - held.begin());
  session_.rewind(common);
  *cached = common;
  Generation g = generate(session_, &tokenizer_, std::span(ids).subspan(common), params, hooks);
  messages_.push_back({{"role", "assistant"}, {"content", g.text}});
  return g;
}

Generation Conversation::ask(const std::string& user, const GenerateParams& params, const GenerateHooks& hooks,
                             uint64_t* cached) {
  messages_.push_back({{"role", "user"}, {"content", user}});
  try {
    return answer(params, hooks, cached);
  } catch (const Error&) {
    messages_.erase(messages_.size() - 1);
    throw;
  }
}

Generation Conversation::regenerate(const GenerateParams& params, const GenerateHooks& hooks, uint64_t* cached) {
  if (messages_.empty() || messages_.back().at("role") != "assistant")
    fail(ErrorKind::kBadArgument, "there is no answer to replace");
  messages_.erase(messages_.size() - 1);
  return answer(params, hooks, cached);
}

}  // namespace stretto::app
