// stretto perplexity: how well a model predicts a text, and how far its predictions are from another model's.

#include <cmath>
#include <cstring>

#include "base/error.h"
#include "base/json.h"
#include "checkpoint/output_file.h"
#include "checkpoint/safetensors.h"
#include "engine/perplexity.h"
#include "model_flags.h"
#include "program/print.h"
#include "terminal.h"
#include "tokens_argument.h"

namespace stretto::app {
namespace {

struct PerplexityFlags {
  ModelFlags common;
  std::string file, tokens, kl_base, save_base;
  int64_t chunks = -1;
  bool json = false;
};

// A base is a safetensors file: tokens I32 [windows, n_ctx] and logits F32 [scored, vocab] in scoring order.
class BaseWriter {
 public:
  BaseWriter(const std::string& path, const std::vector<std::vector<int32_t>>& windows, uint64_t scored, uint64_t vocab)
      : file_(path), scored_(scored) {
    const uint64_t n_ctx = windows.front().size(), token_bytes = windows.size() * n_ctx * 4;
    const Json header{
        {"tokens", {{"dtype", "I32"}, {"shape", {windows.size(), n_ctx}}, {"data_offsets", {0, token_bytes}}}},
        {"logits",
         {{"dtype", "F32"},
          {"shape", {scored, vocab}},
          {"data_offsets", {token_bytes, token_bytes + scored * vocab * 4}}}}};
    std::string text = dump_json(header);
    text.append((8 - text.size() % 8) % 8, ' ');
    const uint64_t size = text.size();
    file_.reserve(8 + size + token_bytes + scored * vocab * 4);
    file_.write(std::as_bytes(std::span(&size, 1)));
    file_.write(std::as_bytes(std::span(text)));
    for (const auto& w : windows) file_.write(std::as_bytes(std::span(w)));
    remark(fmt::format("saving {} of logits to {}", human_bytes(scored * vocab * 4), path));
  }
  void add(std::span<const float> logits) {
    file_.write(std::as_bytes(logits));
    ++written_;
  }
  void finish() {
    if (written_ == scored_) file_.commit();
  }

 private:
  OutputFile file_;
  uint64_t scored_, written_ = 0;
};

class BaseReader {
 public:
  BaseReader(const std::string& path, const std::vector<std::vector<int32_t>>& windows, uint64_t vocab)
      : file_(path), vocab_(vocab), row_(vocab) {
    const StoredTensor *tokens = file_.find("tokens"), *logits = file_.find("logits");
    if (tokens == nullptr || logits == nullptr || tokens->view.type != DType::kI32 || logits->view.type != DType::kF32)
      fail(ErrorKind::kBadArgument, "--kl-base {}: no base logits in it (write one with --save-base)", path);
    if (logits->view.shape.cols() != vocab) {
      fail(ErrorKind::kBadArgument, "--kl-base {}: its vocabulary has {} entries, this model's has {}", path,
           logits->view.shape.cols(), vocab);
    }
    const std::vector<int32_t> flat = join(windows);
    const bool longer = tokens->view.bytes.size() >= flat.size() * 4;
    if (!longer || tokens->view.shape.cols() != windows.front().size() ||
        std::memcmp(tokens->view.bytes.data(), flat.data(), flat.size() * 4) != 0)
      fail(ErrorKind::kBadArgument, "--kl-base {}: made from another text, tokenizer or window (-c)", path);
    logits_ = logits->view.bytes;
  }
  std::span<const float> row(uint64_t i) {
    std::memcpy(row_.data(), logits_.data() + i * vocab_ * 4, vocab_ * 4);
    return row_;
  }

 private:
  static std::vector<int32_t> join(const std::vector<std::vector<int32_t>>& windows) {
    std::vector<int32_t> out;
    for (const auto& w : windows) out.insert(out.end(), w.begin(), w.end());
    return out;
  }
  SafetensorsFile file_;
  uint64_t vocab_;
  std::span<const std::byte> logits_;
  std::vector<float> row_;
};

std::vector<int32_t> text_tokens(const PerplexityFlags& f, const Checkpoint& checkpoint, int32_t* bos) {
  *bos = -1;
  if (!f.tokens.empty()) return parse_tokens(f.tokens);
  if (f.file.empty()) fail(ErrorKind::kBadArgument, "perplexity: which text? (-f FILE)");
  const LoadedTokenizer loaded = load_tokenizer(checkpoint, f.common.tokenizer, engine_log());
  if (!loaded.tokenizer) fail(ErrorKind::kUnsupported, "{}", loaded.missing_reason);
  if (loaded.tokenizer->adds_bos()) *bos = *loaded.tokenizer->bos();
  return loaded.tokenizer->encode(read_file(f.file), {.add_special = true, .parse_special = false});
}

Json json_divergence(const Divergence::Summary& d) {
  return {{"mean_kl", d.mean_kl},          {"mean_kl_error", d.mean_kl_error},
          {"median_kl", d.median_kl},      {"kl_99", d.kl_99},
          {"kl_99_9", d.kl_999},           {"max_kl", d.max_kl},
          {"same_top", d.same_top},        {"rms_delta_p", d.rms_delta_p},
          {"ln_ppl_ratio", d.ln_ppl_ratio}};
}

void print_result(const PerplexityFlags& f, const PerplexityResult& r, const Divergence* divergence) {
  if (f.json) {
    Json out{{"perplexity", r.perplexity()},
             {"perplexity_error", r.perplexity_error()},
             {"avg_logprob", -r.nll},
             {"tokens", r.n_tokens},
             {"n_ctx", f.common.n_ctx}};
    if (divergence != nullptr) out["divergence"] = json_divergence(divergence->summary());
    print_out(dump_json(out) + "\n");
    return;
  }
  print_out(fmt::format("perplexity: {:.4f} +/- {:.4f} ({} tokens scored, average log-probability {:.6f})\n",
                        r.perplexity(), r.perplexity_error(), r.n_tokens, -r.nll));
  if (divergence == nullptr) return;
  const Divergence::Summary d = divergence->summary();
  print_out(
      fmt::format("KL divergence: mean {:.6f} +/- {:.6f}, median {:.6f}, 99 % {:.6f}, 99.9 % {:.6f}, max {:.6f}\n"
                  "same top token: {:.3f} %; RMS change of the true token's probability: {:.3f} %; "
                  "ln(PPL / base PPL): {:.6f}\n",
                  d.mean_kl, d.mean_kl_error, d.median_kl, d.kl_99, d.kl_999, d.max_kl, 100 * d.same_top,
                  100 * d.rms_delta_p, d.ln_ppl_ratio));
}

void run_perplexity_command(PerplexityFlags& f) {
  const auto checkpoint = open_checkpoint(f.common.model);
  PerplexityOptions options;
  if (f.common.n_ctx == 0) f.common.n_ctx = options.n_ctx;
  options.n_ctx = f.common.n_ctx;
  options.max_windows = f.chunks;
  const std::vector<int32_t> tokens = text_tokens(f, *checkpoint, &options.bos);
  const auto windows = perplexity_windows(tokens, options);
  const auto backend = open_device(f.common.device);
  EngineOptions engine_options;
  engine_options.n_ctx = options.n_ctx;
  engine_options.max_tokens = std::min<uint64_t>(f.common.chunk != 0 ? f.common.chunk : 64, 64);
  engine_options.max_outputs = engine_options.max_tokens;
  engine_options.n_threads = f.common.device.n_threads;
  engine_options.kv_type = f.common.kv_cache_type();
  engine_options.strictness = f.common.strictness();
  Engine engine(*checkpoint, *backend, engine_options, engine_log());
  Session session = engine.make_session();
  const uint64_t vocab = session.vocab_size(), per_window = options.n_ctx - options.n_ctx / 2 - 1;
  std::unique_ptr<BaseReader> base;
  std::unique_ptr<BaseWriter> save;
  if (!f.kl_base.empty()) base = std::make_unique<BaseReader>(f.kl_base, windows, vocab);
  if (!f.save_base.empty())
    save = std::make_unique<BaseWriter>(f.save_base, windows, windows.size() * per_window, vocab);
  Divergence divergence;
  uint64_t index = 0;
  PerplexityHooks hooks;
  hooks.score = [&](uint64_t, uint64_t, std::span<const float> logits, int32_t next) {
    if (base) divergence.add(base->row(index), logits, next);
    if (save) save->add(logits);
    ++index;
  };
  hooks.proceed = [&](uint64_t done, uint64_t total, const PerplexityResult& r) {
    progress(fmt::format("perplexity {:.4f}, windows", r.perplexity()), done, total);
    return !interrupted();
  };
  install_interrupt_handler();
  const PerplexityResult result = run_perplexity(session, windows, hooks);
  end_progress();
  if (interrupted())
    fail(ErrorKind::kCancelled, "interrupted after {} tokens, perplexity so far {:.4f}", result.n_tokens,
         result.perplexity());
  if (save) save->finish();
  print_result(f, result, base ? &divergence : nullptr);
}

}  // namespace

void add_perplexity(const Flags& app, int&) {
  auto f = std::make_shared<PerplexityFlags>();
  const Flags c = app.command("perplexity", "perplexity of a text, and KL divergence from another model");
  add_model_flags(c, f->common);
  f->common.device.decode = "graph";  // the same bits every time
  add_device_flags(c, f->common);
  c.add("-f,--file", f->file, "the text (-: standard input)");
  c.add("--tokens", f->tokens, "the text as ids 1,2,3 or @FILE");
  c.add("--chunks", f->chunks, "score at most this many windows of -c tokens (default: all)");
  c.add("--save-base", f->save_base, "save the logits as a base for --kl-base");
  c.add("--kl-base", f->kl_base, "compare with a base that --save-base wrote");
  c.add("--json", f->json, "the result as JSON on stdout");
  c.run([f] {
    set_quiet(f->common.quiet);
    run_perplexity_command(*f);
  });
}

}  // namespace stretto::app
