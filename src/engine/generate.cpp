#include "engine/generate.h"

#include <algorithm>
#include <chrono>

#include "text/detokenizer.h"

namespace stretto {
namespace {

using Clock = std::chrono::steady_clock;

double ms_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

// Text of one stream: ids in; whole characters out, up to the first stop string.
class TextStream {
 public:
  TextStream(const Tokenizer* tokenizer, const std::vector<std::string>& stops, const GenerateHooks& hooks,
             std::string& text)
      : tokenizer_(tokenizer), hooks_(hooks), text_(text), stops_(stops) {}
  void push(int32_t id) {
    if (tokenizer_ != nullptr && id < tokenizer_->size())
      emit(stops_.push(detokenizer_.push(tokenizer_->piece(id, false)).text));
  }
  void finish() {
    emit(stops_.push(detokenizer_.finish().text));
    emit(stops_.finish());
  }
  bool stopped() const { return stops_.stopped(); }

 private:
  void emit(const std::string& piece) {
    if (piece.empty()) return;
    text_ += piece;
    if (hooks_.on_text) hooks_.on_text(piece);
  }
  const Tokenizer* tokenizer_;
  const GenerateHooks& hooks_;
  std::string& text_;
  Detokenizer detokenizer_;
  StopMatcher stops_;
};

Sampler make_sampler(const SamplingParams& params, const Session& session, const Tokenizer* tokenizer) {
  if (tokenizer == nullptr) return Sampler(params, session.vocab_size());
  DryBreakers breakers;
  if (params.dry_multiplier != 0) breakers = make_dry_breakers(*tokenizer, params.dry_sequence_breakers);
  return Sampler(params, session.vocab_size(), tokenizer->suppressed(), std::move(breakers));
}

bool cancelled(const GenerateHooks& hooks) { return hooks.cancel != nullptr && hooks.cancel->load(); }

}  // namespace

std::string_view name(FinishReason reason) {
  switch (reason) {
    case FinishReason::kStop:
      return "stop";
    case FinishReason::kLength:
      return "length";
    case FinishReason::kCancelled:
      return "cancelled";
  }
  return "";
}

namespace {

// Where the next token comes from: the device's own loop where it has one that runs the sampler's chain, else the
// sampler on the logits of the last step. The first one is always the sampler's.
class NextToken {
 public:
  NextToken(Session& session, Sampler& sampler, std::span<const float> logits)
      : session_(session), sampler_(sampler), logits_(logits) {}
  int32_t choose() {
    if (!on_device_) return sampler_.sample(logits_);
    sampler_.skip_draw();
    return session_.next_token();
  }
  // `id` is part of the sequence from now on.
  void append(int32_t id) {
    if (on_device_) return session_.append_chosen(id);
    if (!asked_) on_device_ = start(id);
    if (!on_device_) logits_ = session_.append(std::span(&id, 1));
  }
  // "device", "host", or "host: " and what keeps the chain from the device.
  std::string where() const {
    if (on_device_) return "device";
    return reason_.empty() ? "host" : "host: " + reason_;
  }

 private:
  bool start(int32_t id) {
    asked_ = true;
    TokenChoice choice;
    reason_ = sampler_.device_choice(choice);
    return reason_.empty() && session_.start_decode(id, choice);
  }

  Session& session_;
  Sampler& sampler_;
  std::span<const float> logits_;
  std::string reason_;
  bool asked_ = false, on_device_ = false;
};

}  // namespace

Generation generate(Session& session, const Tokenizer* tokenizer, std::span<const int32_t> prompt,
                    const GenerateParams& params, const GenerateHooks& hooks) {
  Generation out;
  Sampler sampler = make_sampler(params.sampling, session, tokenizer);
  sampler.accept(prompt);
  TextStream stream(tokenizer, params.stop_strings, hooks, out.text);
  const Clock::time_point start = Clock::now();
  std::span<const float> logits = session.append(prompt, params.chunk, [&](uint64_t done, uint64_t total) {
    if (hooks.on_prefill) hooks.on_prefill(done, total);
    return done == total || !cancelled(hooks);
  });
  out.timings.prompt_n = prompt.size();
  out.timings.prompt_ms = ms_since(start);
  const Clock::time_point decode_start = Clock::now();
  const uint64_t most = params.max_tokens < 0 ? UINT64_MAX : static_cast<uint64_t>(params.max_tokens);
  out.finish = logits.empty() ? FinishReason::kCancelled : FinishReason::kLength;
  NextToken next(session, sampler, logits);
  while (!logits.empty() && out.tokens.size() < most) {
    const int32_t id = next.choose();
    if (out.tokens.empty()) out.timings.first_token_ms = ms_since(start);
    if (std::find(params.stop_ids.begin(), params.stop_ids.end(), id) != params.stop_ids.end()) {
      out.finish = FinishReason::kStop;
      break;
    }
    out.tokens.push_back(id);
    sampler.accept(id);
    if (hooks.on_token) hooks.on_token(id);
    stream.push(id);
    if (stream.stopped()) {
      out.finish = FinishReason::kStop;
      break;
    }
    if (cancelled(hooks)) {
      out.finish = FinishReason::kCancelled;
      break;
    }
    if (out.tokens.size() == most || session.position() == session.context()) break;
    next.append(id);
  }
  stream.finish();
  out.sampling = next.where();
  out.timings.predicted_n = out.tokens.size();
  out.timings.predicted_ms = ms_since(decode_start);
  return out;
}

}  // namespace stretto
