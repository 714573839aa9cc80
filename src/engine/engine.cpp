#include "engine/engine.h"

#include <algorithm>
#include <chrono>
#include <thread>

#include "base/error.h"
#include "program/plan.h"
#include "program/print.h"
#include "text/hf_tokenizer.h"

namespace stretto {

Engine::Engine(const Checkpoint& checkpoint, const Backend& backend, const EngineOptions& options,
               const EngineLog& log) {
  choose_model(checkpoint, options);
  for (const std::string& w : checkpoint.warnings()) log.line("warning: " + w);
  for (const std::string& w : model_.warnings) log.line("warning: " + w);
  plan(backend, options, log);
  load(checkpoint, backend, log);
}

void Engine::choose_model(const Checkpoint& checkpoint, const EngineOptions& options) {
  ModelOptions wanted{.kv_type = options.kv_type.value_or(DType::kF32), .strictness = options.strictness};
  wanted.swap.trace = options.swap_trace;
  model_ = load_model(checkpoint, wanted);
  if (options.kv_type) return;
  const uint64_t n_ctx = options.n_ctx != 0 ? options.n_ctx : model_.spec.context_length;
  if (plan_memory(model_.program, n_ctx, {}).state <= kExactCacheBytes) return;
  wanted.kv_type = DType::kF16;
  model_ = load_model(checkpoint, wanted);
}

void Engine::plan(const Backend& backend, const EngineOptions& options, const EngineLog& log) {
  limits_.max_tokens = options.max_tokens != 0 ? options.max_tokens : backend.prefill_tokens();
  limits_.max_outputs = options.max_outputs;
  limits_.n_threads = options.n_threads;
  limits_.n_ctx = options.n_ctx != 0 ? options.n_ctx : model_.spec.context_length;
  limits_.max_tokens = std::min(limits_.max_tokens, limits_.n_ctx);
  if (limits_.n_ctx > model_.spec.context_length)
    log.line(fmt::format("warning: a context of {} is beyond the {} positions the model was trained for", limits_.n_ctx,
                         model_.spec.context_length));
  const StepShape step{.n_tokens = limits_.max_tokens, .n_outputs = limits_.max_outputs};
  const Program lowered = backend.lower(model_.program);
  const uint64_t available = backend.available_bytes();
  const MemoryPlan need = plan_memory(lowered, limits_.n_ctx, step);
  if (need.total() <= available) return;
  const uint64_t fits = largest_context(lowered, step, available);
  if (fits == 0 || options.n_ctx != 0) {
    fail(ErrorKind::kHostMemory,
         "{} needs {} on {} for a context of {} ({} weights, {} state, {} activations), {} are free; {}",
         model_.program.architecture, human_bytes(need.total()), backend.name(), limits_.n_ctx,
         human_bytes(need.weights), human_bytes(need.state), human_bytes(need.activations), human_bytes(available),
         fits == 0 ? std::string("no context fits: take a smaller or lower-bit model")
                   : fmt::format("largest context that fits: {} (-c {})", fits, fits));
  }
  log.line(fmt::format("context: {} of the model's {} positions fit into {} (choose with -c)", fits, limits_.n_ctx,
                       human_bytes(available)));
  limits_.n_ctx = fits;
  limits_.max_tokens = std::min(limits_.max_tokens, fits);
}

void Engine::load(const Checkpoint& checkpoint, const Backend& backend, const EngineLog& log) {
  const int threads = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  const auto start = std::chrono::steady_clock::now();
  checkpoint.prefault(threads, [&](uint64_t done, uint64_t total) {
    if (log.progress) log.progress("loading", done, total);
  });
  const auto bytes = static_cast<double>(checkpoint.tensor_bytes());
  executable_ = backend.compile(model_.program, limits_);
  // Reading and whatever the backend does with the weights: what a person waits for.
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  const std::vector<StateInfo>& states = model_.program.tables.states;
  log.line(fmt::format("loaded {} in {:.2f} s ({:.2f} GB/s), {} on {}, context {}{}",
                       human_bytes(checkpoint.tensor_bytes()), seconds, bytes / 1e9 / std::max(seconds, 1e-9),
                       model_.program.architecture, backend.name(), limits_.n_ctx,
                       states.empty() ? std::string() : fmt::format(", cache {}", name(states.front().type))));
}

LoadedTokenizer load_tokenizer(const Checkpoint& checkpoint, const TokenizerOptions& options, const EngineLog& log) {
  LoadedTokenizer out;
  if (checkpoint.container() == Container::kHuggingFace) {
    const HfTokenizerFiles files = read_hf_tokenizer_files(checkpoint);
    if (!has_hf_tokenizer(files)) {
      out.missing_reason = checkpoint.path().string() +
                           ": no tokenizer.json, tokenizer.model, tekken.json or vocab.json with merges.txt in this "
                           "directory; use --tokens";
      return out;
    }
    if (!options.force_pre.empty())
      fail(ErrorKind::kBadArgument, "--pre {}: tokenizer.json names its own rules", options.force_pre);
    out.tokenizer =
        make_hf_tokenizer(files, {.add_bos = options.add_bos, .fix_mistral_regex = options.fix_mistral_regex});
  } else {
    const std::string kind = checkpoint.metadata().get_string("tokenizer.ggml.model").value_or("no_vocab");
    if (kind == "no_vocab" || kind == "none") {
      out.missing_reason = checkpoint.path().string() + ": this model has no tokenizer; use --tokens";
      return out;
    }
    out.tokenizer = make_tokenizer(checkpoint.metadata(), options.force_pre);
  }
  for (const std::string& w : out.tokenizer->warnings()) log.line("warning: tokenizer: " + w);
  return out;
}

}  // namespace stretto
