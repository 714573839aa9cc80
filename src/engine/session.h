// One sequence on a compiled program: prompts in chunks, tokens one by one, rewinding.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "backend/backend.h"

namespace stretto {

class Session {
 public:
  // `program` must outlive the session; its limits are those it was compiled with.
  Session(Executable& program, const CompileOptions& limits);

  uint64_t position() const { return tokens_.size(); }  // tokens in the state
  uint64_t context() const { return limits_.n_ctx; }
  uint64_t vocab_size() const;
  const std::vector<int32_t>& tokens() const { return tokens_; }

  // Appends tokens in chunks of at most `chunk` (0: the compiled maximum) and returns the logits after the last one.
  // `proceed(done, total)` runs between chunks; false stops early (the result is then empty).
  // Errors: kBadArgument for an id outside the vocabulary, kCapacity when the context is too short.
  using Proceed = std::function<bool(uint64_t done, uint64_t total)>;
  std::span<const float> append(std::span<const int32_t> tokens, uint64_t chunk = 0, const Proceed& proceed = {});

  // As append, but hands the logits of every position to `sink(first_position, rows)`, rows being [n, vocab].
  using LogitSink = std::function<void(uint64_t first, std::span<const float> rows)>;
  void append_all_logits(std::span<const int32_t> tokens, uint64_t chunk, const LogitSink& sink);

  // Decoding without the host in the loop (Executable::start_decode), where the backend has it: start_decode appends
  // `token` and says whether it could; next_token returns the token chosen after the last one appended, which
  // append_chosen then appends. Errors as for append.
  bool start_decode(int32_t token, const TokenChoice& choice);
  int32_t next_token() { return executable_.next_token(); }
  void append_chosen(int32_t token) { tokens_.push_back(token); }
  void stop_decode() { executable_.stop_decode(); }

  // Forgets everything from `position` on (dense caches only need the position moved).
  void rewind(uint64_t position);

 private:
  void check_request(std::span<const int32_t> tokens) const;
  std::span<const float> step(std::span<const int32_t> tokens, std::span<const int32_t> outputs);

  Executable& executable_;
  CompileOptions limits_;
  std::vector<int32_t> tokens_;
  std::vector<int32_t> outputs_;
};

}  // namespace stretto
