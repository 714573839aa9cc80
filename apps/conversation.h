// A chat: its messages, and the session that holds them as far as they have been read.
#pragma once

#include <string>
#include <vector>

#include "base/json.h"
#include "engine/engine.h"
#include "jinja/jinja.h"

namespace stretto::app {

class Conversation {
 public:
  // Throws Error(kUnsupported) when the model has no chat template.
  Conversation(Session session, const Tokenizer& tokenizer, std::string system);

  // Adds the user's message and generates the answer, which becomes part of the conversation. Tokens that the session
  // holds already are not read again; `cached` gets their number. On kCapacity the message is taken back.
  Generation ask(const std::string& user, const GenerateParams& params, const GenerateHooks& hooks, uint64_t* cached);
  // Drops the last answer and generates another one. Throws Error(kBadArgument) when there is none.
  Generation regenerate(const GenerateParams& params, const GenerateHooks& hooks, uint64_t* cached);

  void clear();
  void set_system(std::string system);
  bool undo();  // drops the last question and its answer; false when there is none
  const Json& messages() const { return messages_; }
  void set_messages(Json messages);  // from a saved conversation
  uint64_t tokens_in_context() const { return session_.position(); }
  uint64_t context() const { return session_.context(); }

 private:
  Generation answer(const GenerateParams& params, const GenerateHooks& hooks, uint64_t* cached);
  std::vector<int32_t> prompt() const;

  Session session_;
  const Tokenizer& tokenizer_;
  jinja::Template template_;
  Json messages_ = Json::array();
};

}  // namespace stretto::app
