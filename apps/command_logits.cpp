// stretto logits: the raw logits of every position, for comparison with other implementations.

#include <cstring>
#include <numeric>

#include "base/error.h"
#include "checkpoint/safetensors.h"
#include "model_flags.h"
#include "terminal.h"
#include "tokens_argument.h"

namespace stretto::app {
namespace {

struct LogitsOptions {
  ModelFlags common;
  std::string tokens;
  std::string output;
  uint64_t chunk = 0;
  bool swap_trace = false;
};

// At most this many bytes of logits are kept per step.
constexpr uint64_t kStepLogitBytes = 256 << 20;

// A trace has other columns than the vocabulary, which a session would check the ids against.
void write_trace(Engine& engine, const LogitsOptions& o, const std::vector<int32_t>& tokens) {
  const uint64_t step = engine.limits().max_tokens;
  std::vector<float> rows;
  std::vector<int32_t> outputs(step);
  std::iota(outputs.begin(), outputs.end(), 0);
  for (uint64_t done = 0; done < tokens.size(); done += step) {
    const uint64_t n = std::min<uint64_t>(step, tokens.size() - done);
    const auto part = engine.executable().run(
        {.tokens = std::span(tokens).subspan(done, n), .position = done, .outputs = std::span(outputs).first(n)});
    rows.insert(rows.end(), part.begin(), part.end());
  }
  const uint64_t columns = rows.size() / tokens.size();
  write_safetensors(o.output, {{"tokens", DType::kI32, Shape{tokens.size()}, std::as_bytes(std::span(tokens))},
                               {"trace", DType::kF32, Shape{tokens.size(), columns}, std::as_bytes(std::span(rows))}});
  remark(fmt::format("wrote {}: tokens [{}], trace [{}, {}]", o.output, tokens.size(), tokens.size(), columns));
}

void run_logits(const LogitsOptions& o) {
  const std::vector<int32_t> tokens = parse_tokens(o.tokens);
  if (tokens.empty()) fail(ErrorKind::kBadArgument, "--tokens holds no ids");
  const auto checkpoint = open_checkpoint(o.common.model);
  const auto backend = open_device(o.common.device);
  EngineOptions options{
      .n_ctx = o.common.n_ctx != 0 ? o.common.n_ctx : tokens.size(),
      .max_tokens = o.chunk != 0 ? o.chunk : std::min<uint64_t>(o.common.chunk != 0 ? o.common.chunk : 64, 64),
      .n_threads = o.common.device.n_threads,
      .kv_type = o.common.kv_cache_type(),
      .strictness = o.common.strictness(),
      .swap_trace = o.swap_trace};
  options.max_tokens = std::min<uint64_t>(options.max_tokens, tokens.size());
  options.max_outputs = options.max_tokens;
  Engine engine(*checkpoint, *backend, options, engine_log());
  if (o.swap_trace) return write_trace(engine, o, tokens);
  Session session = engine.make_session();
  const uint64_t vocab = session.vocab_size();
  std::vector<float> logits(tokens.size() * vocab);
  session.append_all_logits(tokens, std::max<uint64_t>(1, std::min(options.max_tokens, kStepLogitBytes / 4 / vocab)),
                            [&](uint64_t first, std::span<const float> rows) {
                              std::copy(rows.begin(), rows.end(), logits.begin() + static_cast<int64_t>(first * vocab));
                              progress("tokens", first + rows.size() / vocab, tokens.size());
                              if (interrupted())
                                fail(ErrorKind::kCancelled, "interrupted; {} was not written", o.output);
                            });
  write_safetensors(o.output, {{"tokens", DType::kI32, Shape{tokens.size()}, std::as_bytes(std::span(tokens))},
                               {"logits", DType::kF32, Shape{tokens.size(), vocab}, std::as_bytes(std::span(logits))}});
  remark(fmt::format("wrote {}: tokens [{}], logits [{}, {}]", o.output, tokens.size(), tokens.size(), vocab));
}

}  // namespace

void add_logits(const Flags& app, int&) {
  auto o = std::make_shared<LogitsOptions>();
  const Flags c = app.command("logits", "write the logits of every position to a safetensors file");
  add_model_flags(c, o->common);
  o->common.device.decode = "graph";  // the same bits every time
  add_device_flags(c, o->common);
  c.add("--tokens", o->tokens, "ids 1,2,3 or @FILE (safetensors with `tokens`, or text)").required();
  c.add("-o,--output", o->output, "the safetensors file to write").required();
  c.add("--chunk", o->chunk, "tokens per step; 1 = token by token").between(1, 1 << 20);
  c.add("--swap-trace", o->swap_trace,
        "a swap-FFN hybrid's decisions, their margins and the stream map, in place of logits");
  c.run([o] {
    set_quiet(o->common.quiet);
    run_logits(*o);
  });
}

}  // namespace stretto::app
