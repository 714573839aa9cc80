// The decode loop: sample, hand out the text, stop where the model or the caller says so.
#pragma once

#include <atomic>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/sampler.h"
#include "engine/session.h"
#include "text/tokenizer.h"

namespace stretto {

enum class FinishReason {
  kStop,       // an end-of-generation token or a stop string
  kLength,     // max_tokens, or the end of the context
  kCancelled,  // the caller's flag
};
std::string_view name(FinishReason reason);

struct GenerateParams {
  int64_t max_tokens = -1;  // < 0: until the model stops or the context is full
  SamplingParams sampling;
  std::vector<int32_t> stop_ids;  // end-of-generation tokens; empty: never stop on a token
  std::vector<std::string> stop_strings;
  uint64_t chunk = 0;  // prefill chunk, 0: the compiled maximum
};

struct Timings {
  uint64_t prompt_n = 0;
  double prompt_ms = 0;
  uint64_t predicted_n = 0;
  double predicted_ms = 0;
  double first_token_ms = 0;  // from the call to the first sampled token
};

struct Generation {
  std::vector<int32_t> tokens;  // generated ids, the end-of-generation token left out
  std::string text;             // empty without a tokenizer
  FinishReason finish = FinishReason::kLength;
  // Where the tokens after the first were chosen: "device", or "host" and what kept the chain from the device.
  std::string sampling = "host";
  Timings timings;
};

// Appends `prompt` to the session and generates. `tokenizer` may be null (ids only). `on_text` gets each new piece of
// valid UTF-8 as soon as it is whole; `on_token` each id. `cancel` is looked at between prefill chunks and tokens.
struct GenerateHooks {
  std::function<void(std::string_view)> on_text;
  std::function<void(int32_t)> on_token;
  std::function<void(uint64_t done, uint64_t total)> on_prefill;
  const std::atomic<bool>* cancel = nullptr;
};
Generation generate(Session& session, const Tokenizer* tokenizer, std::span<const int32_t> prompt,
                    const GenerateParams& params, const GenerateHooks& hooks);

}  // namespace stretto
