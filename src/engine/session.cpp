#include "engine/session.h"

#include <algorithm>
#include <numeric>

#include "base/error.h"

namespace stretto {

Session::Session(Executable& program, const CompileOptions& limits) : executable_(program), limits_(limits) {
  tokens_.reserve(limits.n_ctx);
  outputs_.reserve(limits.max_tokens);
}

uint64_t Session::vocab_size() const {
  const Program& p = executable_.program();
  return p.tables[p.logits].width;
}

void Session::check_request(std::span<const int32_t> tokens) const {
  if (tokens.empty()) fail(ErrorKind::kBadArgument, "no tokens: the prompt is empty");
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (tokens[i] < 0 || static_cast<uint64_t>(tokens[i]) >= vocab_size())
      fail(ErrorKind::kBadArgument, "token {} at index {} is outside the vocabulary (0 .. {})", tokens[i], i,
           vocab_size() - 1);
  }
  if (position() + tokens.size() > context()) {
    fail(ErrorKind::kCapacity,
         "context_length_exceeded: {} tokens in the context and {} more make {}, it holds {} (-c {})", position(),
         tokens.size(), position() + tokens.size(), context(), position() + tokens.size());
  }
}

std::span<const float> Session::step(std::span<const int32_t> tokens, std::span<const int32_t> outputs) {
  const std::span<const float> logits = executable_.run({.tokens = tokens, .position = position(), .outputs = outputs});
  tokens_.insert(tokens_.end(), tokens.begin(), tokens.end());
  return logits;
}

std::span<const float> Session::append(std::span<const int32_t> tokens, uint64_t chunk, const Proceed& proceed) {
  check_request(tokens);
  const uint64_t size = chunk == 0 ? limits_.max_tokens : std::min(chunk, limits_.max_tokens);
  std::span<const float> logits;
  for (uint64_t done = 0; done < tokens.size();) {
    const uint64_t n = std::min<uint64_t>(size, tokens.size() - done);
    const bool last = done + n == tokens.size();
    outputs_.assign(last ? 1 : 0, static_cast<int32_t>(n) - 1);
    logits = step(tokens.subspan(done, n), outputs_);
    done += n;
    if (proceed && !proceed(done, tokens.size())) return {};
  }
  return logits;
}

bool Session::start_decode(int32_t token, const TokenChoice& choice) {
  check_request(std::span(&token, 1));
  if (!executable_.start_decode(token, position(), choice)) return false;
  tokens_.push_back(token);
  return true;
}

void Session::append_all_logits(std::span<const int32_t> tokens, uint64_t chunk, const LogitSink& sink) {
  check_request(tokens);
  const uint64_t most = std::min(limits_.max_tokens, limits_.max_outputs);
  const uint64_t size = chunk == 0 ? most : std::min(chunk, most);
  for (uint64_t done = 0; done < tokens.size();) {
    const uint64_t n = std::min<uint64_t>(size, tokens.size() - done), first = position();
    outputs_.resize(n);
    std::iota(outputs_.begin(), outputs_.end(), 0);
    sink(first, step(tokens.subspan(done, n), outputs_));
    done += n;
  }
}

void Session::rewind(uint64_t position) {
  CHECK(position <= tokens_.size());
  tokens_.resize(position);
}

}  // namespace stretto
