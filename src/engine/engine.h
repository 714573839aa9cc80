// From MODEL on the command line to something that generates: checkpoint, tokenizer, program, compiled executable.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "checkpoint/checkpoint.h"
#include "engine/generate.h"
#include "engine/session.h"
#include "models/registry.h"
#include "text/tokenizer.h"

namespace stretto {

// Where the engine's remarks go (stderr in the commands). `progress` is called often, `line` once per remark.
struct EngineLog {
  std::function<void(const std::string&)> line;
  std::function<void(std::string_view what, uint64_t done, uint64_t total)> progress;
};

struct EngineOptions {
  uint64_t n_ctx = 0;       // 0: the model's own context, or what fits into memory
  uint64_t max_tokens = 0;  // largest step, 0: what the backend likes best
  uint64_t max_outputs = 1;
  int n_threads = 0;
  // Encoding of the KV cache. Not given: F32 while the whole cache stays below kExactCacheBytes, where its bytes do not
  // show in the time of a token, else F16.
  std::optional<DType> kv_type = std::nullopt;
  Strictness strictness = Strictness::kStrict;
  bool swap_trace = false;  // rows of decisions of the swap layers in place of logits (SwapHooks in ops/swap_streams.h)
};

inline constexpr uint64_t kExactCacheBytes = 64 << 20;

class Engine {
 public:
  // Plans memory before anything is loaded; refuses with the largest context that fits. Throws Error.
  Engine(const Checkpoint& checkpoint, const Backend& backend, const EngineOptions& options, const EngineLog& log);

  const Model& model() const { return model_; }
  const CompileOptions& limits() const { return limits_; }
  Executable& executable() { return *executable_; }
  Session make_session() { return Session(*executable_, limits_); }

 private:
  void choose_model(const Checkpoint& checkpoint, const EngineOptions& options);
  void plan(const Backend& backend, const EngineOptions& options, const EngineLog& log);
  void load(const Checkpoint& checkpoint, const Backend& backend, const EngineLog& log);

  Model model_;
  CompileOptions limits_;
  std::unique_ptr<Executable> executable_;
};

// The model's tokenizer, or null (with the reason) when it has none; warnings go to the log.
struct LoadedTokenizer {
  std::unique_ptr<const Tokenizer> tokenizer;
  std::string missing_reason;
};
struct TokenizerOptions {
  std::string force_pre;                       // GGUF: a pre-tokenizer by name
  std::optional<bool> add_bos = std::nullopt;  // tokenizer.json: bos before a text, whatever the file says
  bool fix_mistral_regex = false;              // tokenizer.json: see HfTokenizerOptions
};
LoadedTokenizer load_tokenizer(const Checkpoint& checkpoint, const TokenizerOptions& options, const EngineLog& log);

// End-of-generation ids: the tokenizer's, or what config.json / generation_config.json / GGUF keys say.
std::vector<int32_t> end_ids(const Checkpoint& checkpoint, const Tokenizer* tokenizer);

// Sampling defaults that the model carries (general.sampling.*, generation_config.json), over the built-in ones.
// `origin` gets a one-line description of what was taken, empty when nothing was.
SamplingParams default_sampling(const Checkpoint& checkpoint, std::string* origin);

}  // namespace stretto
