// stretto run: one prompt in, its continuation out.

#include <unistd.h>

#include "base/error.h"
#include "base/json.h"
#include "chat_prompt.h"
#include "model_flags.h"
#include "sampling_flags.h"
#include "terminal.h"
#include "tokens_argument.h"

namespace stretto::app {
namespace {

struct RunOptions {
  ModelFlags common;
  std::string text, file, tokens, system;
  bool has_text = false;
  int64_t n_predict = -1;
  SamplingFlags sampling;
  bool chat = false, json = false, ignore_eos = false;
  std::vector<std::string> stops;
};

std::string prompt_text(const RunOptions& o) {
  if (o.has_text) return o.text;
  if (!o.file.empty()) return read_file(o.file);
  if (isatty(STDIN_FILENO) != 0)
    fail(ErrorKind::kBadArgument, "run: no prompt; give one with -p TEXT, -f FILE, --tokens IDS, or through a pipe");
  std::string text = read_file("-");
  if (text.empty()) fail(ErrorKind::kBadArgument, "run: standard input is empty and there is no -p TEXT");
  return text;
}

std::vector<int32_t> prompt_ids(const RunOptions& o, const Tokenizer* tokenizer, const std::string& why_none) {
  if (!o.tokens.empty()) return parse_tokens(o.tokens);
  if (tokenizer == nullptr) fail(ErrorKind::kUnsupported, "{}", why_none);
  std::string text = prompt_text(o);
  if (o.chat) text = chat_prompt(*tokenizer, o.system, text);
  std::vector<std::string> warnings;
  std::vector<int32_t> ids = tokenizer->encode(text, {.warnings = &warnings});
  for (const std::string& w : warnings) remark("warning: " + w);
  if (ids.empty()) fail(ErrorKind::kBadArgument, "run: the prompt is empty");
  return ids;
}

Json json_timings(const Timings& t) {
  const auto rate = [](uint64_t n, double ms) { return ms > 0 ? static_cast<double>(n) * 1e3 / ms : 0.0; };
  const auto each = [](uint64_t n, double ms) { return n > 0 ? ms / static_cast<double>(n) : 0.0; };
  return {{"prompt_n", t.prompt_n},
          {"prompt_ms", t.prompt_ms},
          {"prompt_per_token_ms", each(t.prompt_n, t.prompt_ms)},
          {"prompt_per_second", rate(t.prompt_n, t.prompt_ms)},
          {"predicted_n", t.predicted_n},
          {"predicted_ms", t.predicted_ms},
          {"predicted_per_token_ms", each(t.predicted_n, t.predicted_ms)},
          {"predicted_per_second", rate(t.predicted_n, t.predicted_ms)},
          {"ttft_ms", t.first_token_ms}};
}

void print_result(const RunOptions& o, const Generation& g, bool ids_only) {
  if (o.json) {
    print_out(dump_json(Json{{"text", g.text},
                             {"tokens", g.tokens},
                             {"prompt_tokens", g.timings.prompt_n},
                             {"finish_reason", std::string(name(g.finish))},
                             {"sampling", g.sampling},
                             {"timings", json_timings(g.timings)}}) +
              "\n");
  } else if (!ids_only && !g.text.ends_with("\n")) {
    print_out("\n");
  } else if (ids_only) {
    print_out("\n");
  }
  const Timings& t = g.timings;
  remark(
      fmt::format("prompt {} tokens in {:.1f} ms; {} tokens generated, {:.1f} tokens/s; first token after {:.1f} ms; "
                  "chosen on the {}",
                  t.prompt_n, t.prompt_ms, t.predicted_n,
                  t.predicted_ms > 0 ? static_cast<double>(t.predicted_n) * 1e3 / t.predicted_ms : 0, t.first_token_ms,
                  g.sampling));
}

// The context that the request needs, unless -c says otherwise.
uint64_t context_for(const RunOptions& o, size_t n_prompt) {
  if (o.common.n_ctx != 0) return o.common.n_ctx;
  return o.n_predict < 0 ? 0 : n_prompt + static_cast<uint64_t>(o.n_predict);
}

int run(const RunOptions& o) {
  const auto checkpoint = open_checkpoint(o.common.model);
  const LoadedTokenizer loaded = load_tokenizer(*checkpoint, o.common.tokenizer, engine_log());
  const Tokenizer* tokenizer = loaded.tokenizer.get();
  const std::vector<int32_t> prompt = prompt_ids(o, tokenizer, loaded.missing_reason);
  const auto backend = open_device(o.common.device);
  EngineOptions options{.n_ctx = context_for(o, prompt.size()),
                        .max_tokens = o.common.chunk,
                        .n_threads = o.common.device.n_threads,
                        .kv_type = o.common.kv_cache_type(),
                        .strictness = o.common.strictness()};
  Engine engine(*checkpoint, *backend, options, engine_log());
  GenerateParams params{
      .max_tokens = o.n_predict, .sampling = o.sampling.resolve(*checkpoint), .stop_ids = {}, .stop_strings = o.stops};
  if (!o.ignore_eos) params.stop_ids = end_ids(*checkpoint, tokenizer);
  install_interrupt_handler();
  Session session = engine.make_session();
  GenerateHooks hooks{.on_text = {}, .on_token = {}, .on_prefill = {}, .cancel = &interrupted()};
  hooks.on_prefill = [](uint64_t done, uint64_t total) { progress("prompt", done, total); };
  bool first = true;
  if (!o.json && tokenizer != nullptr) hooks.on_text = [](std::string_view text) { print_out(text); };
  if (!o.json && tokenizer == nullptr) {
    hooks.on_token = [&first](int32_t id) {
      print_out(fmt::format("{}{}", first ? "" : ",", id));
      first = false;
    };
  }
  const Generation g = generate(session, tokenizer, prompt, params, hooks);
  end_progress();
  print_result(o, g, tokenizer == nullptr);
  return g.finish == FinishReason::kCancelled ? 130 : 0;
}

}  // namespace

void add_run(const Flags& app, int& exit_code) {
  auto o = std::make_shared<RunOptions>();
  const Flags c = app.command("run", "complete a prompt");
  add_model_flags(c, o->common);
  add_device_flags(c, o->common);
  const Flag prompt =
      c.add("-p,--prompt", o->text, "the prompt, completed as it is; special tokens in it are recognised");
  c.add("-f,--file", o->file, "read the prompt from a file (-: standard input)");
  c.add("--tokens", o->tokens, "the prompt as ids 1,2,3 or @FILE");
  c.add("--chat", o->chat, "wrap the prompt in the model's chat template");
  c.add("--system,--system-prompt", o->system, "system message for --chat");
  c.add("-n,--predict,--n-predict", o->n_predict, "tokens to generate; -1 = until the model stops");
  add_tokenizer_flags(c, o->common);
  o->sampling.add_to(c);
  c.add("--stop,-r,--reverse-prompt", o->stops, "end the answer at this text (repeatable)");
  c.add("--ignore-eos", o->ignore_eos, "go on after an end-of-generation token");
  c.add("--json", o->json, "one JSON object on stdout instead of the text");
  c.run([o, prompt, &exit_code] {
    set_quiet(o->common.quiet);
    o->has_text = prompt.given();
    if (o->n_predict < -1) fail(ErrorKind::kBadArgument, "-n {}: wanted a count, or -1", o->n_predict);
    exit_code = run(*o);
  });
}

}  // namespace stretto::app
