#include "models/reference_models.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "checkpoint/safetensors.h"

namespace stretto::test {
namespace {

template <class T>
std::vector<T> read(const SafetensorsFile& file, const char* name) {
  const StoredTensor* t = file.find(name);
  std::vector<T> out(t == nullptr ? 0 : t->view.shape.elements());
  if (!out.empty()) std::memcpy(out.data(), t->view.bytes.data(), out.size() * sizeof(T));
  return out;
}

struct Loaded {
  std::unique_ptr<Checkpoint> checkpoint;
  Model model;
  CompileOptions limits;
  std::unique_ptr<Executable> executable;
};

Loaded load(const ReferenceCase& c, const Backend& backend, uint64_t n_ctx, uint64_t chunk, const ModelOptions& o) {
  Loaded l{.checkpoint = open_checkpoint(c.model_path()), .model = {}, .limits = {}, .executable = {}};
  l.model = load_model(*l.checkpoint, o);
  l.limits = {.n_ctx = n_ctx, .max_tokens = chunk, .max_outputs = chunk};
  l.executable = backend.compile(l.model.program, l.limits);
  return l;
}

}  // namespace

std::string ReferenceCase::model_path() const {
  return std::string(STRETTO_BINARY_DIR "/refs/") + name + (name.starts_with("gguf/") ? ".gguf" : "");
}

std::string ReferenceCase::expected_path() const {
  const bool gguf = name.starts_with("gguf/");
  return std::string(STRETTO_TEST_DATA) + (gguf ? "/gguf_ref/" + name.substr(5) : "/hf_ref/" + name.substr(3)) +
         ".expected.safetensors";
}

const std::vector<ReferenceCase>& hf_cases() {
  static const std::vector<ReferenceCase> kCases = {
      {"hf/llama"},           {"hf/mistral"},         {"hf/qwen3"}, {"hf/qwen3_moe"}, {"hf/swap_ffn_baseline"},
      {"hf/swap_ffn_hybrid"}, {"hf/swap_ffn_carried"}};
  return kCases;
}

const std::vector<ReferenceCase>& gguf_cases() {
  static const std::vector<ReferenceCase> kCases = {{"gguf/llama.f16"},    {"gguf/llama.q8_0"},
                                                    {"gguf/llama.q4_k_m"}, {"gguf/qwen3.f16"},
                                                    {"gguf/qwen3moe.f16"}, {"gguf/qwen3moe.q4_k_m"}};
  return kCases;
}

bool takes_cache(const ReferenceCase& c, DType type) {
  const uint64_t head_dim = load_model(*open_checkpoint(c.model_path()), {}).spec.head_dim;
  return head_dim % info(type).block_elements == 0;
}

Expected read_expected(const ReferenceCase& c) {
  const SafetensorsFile file = open_safetensors(c.expected_path());
  return {.tokens = read<int32_t>(file, "tokens"),
          .logits = read<float>(file, "logits"),
          .greedy_prompt = read<int32_t>(file, "greedy_prompt"),
          .greedy_tokens = read<int32_t>(file, "greedy_tokens"),
          .greedy_margin = read<float>(file, "greedy_margin"),
          .decision_margin = read<float>(file, "decision_margin"),
          .stream_map = read<int32_t>(file, "stream_map")};
}

bool has_swap_layers(const ReferenceCase& c) { return !read_expected(c).stream_map.empty(); }

std::vector<float> logits_of(const ReferenceCase& c, const Backend& backend, const std::vector<int32_t>& tokens,
                             uint64_t chunk, const ModelOptions& options) {
  const uint64_t size = chunk == 0 ? tokens.size() : chunk;
  const Loaded l = load(c, backend, tokens.size(), size, options);
  Session session(*l.executable, l.limits);
  std::vector<float> out(tokens.size() * session.vocab_size());
  session.append_all_logits(tokens, size, [&](uint64_t first, std::span<const float> rows) {
    std::copy(rows.begin(), rows.end(), out.begin() + static_cast<int64_t>(first * session.vocab_size()));
  });
  return out;
}

std::vector<float> swap_recording(const ReferenceCase& c, const Backend& backend, const std::vector<int32_t>& tokens,
                                  uint64_t chunk, ModelOptions options) {
  options.swap.trace = true;
  const uint64_t size = chunk == 0 ? tokens.size() : chunk;
  const Loaded l = load(c, backend, tokens.size(), size, options);
  std::vector<float> out;
  std::vector<int32_t> outputs(size);
  std::iota(outputs.begin(), outputs.end(), 0);
  for (uint64_t done = 0; done < tokens.size(); done += size) {
    const uint64_t n = std::min<uint64_t>(size, tokens.size() - done);
    const auto rows = l.executable->run(
        {.tokens = std::span(tokens).subspan(done, n), .position = done, .outputs = std::span(outputs).first(n)});
    out.insert(out.end(), rows.begin(), rows.end());
  }
  return out;
}

std::vector<int32_t> greedy(const ReferenceCase& c, const Backend& backend, const std::vector<int32_t>& prompt,
                            size_t n) {
  const Loaded l = load(c, backend, prompt.size() + n, prompt.size(), {});
  Session session(*l.executable, l.limits);
  std::vector<int32_t> out;
  std::span<const float> logits = session.append(prompt);
  while (true) {
    out.push_back(arg_max(logits));
    if (out.size() == n) return out;
    logits = session.append(std::span(&out.back(), 1));
  }
}

double range_error(const std::vector<float>& a, const std::vector<float>& b) {
  const auto [low, high] = std::minmax_element(b.begin(), b.end());
  double worst = 0;
  for (size_t i = 0; i < b.size(); ++i) {
    const double d = std::abs(static_cast<double>(a[i]) - b[i]);
    if (!(d <= worst)) worst = d;  // a NaN sticks
  }
  return worst / (static_cast<double>(*high) - *low);
}

double median_kl(const std::vector<float>& got, const std::vector<float>& expected, size_t vocab) {
  std::vector<double> kl;
  for (size_t base = 0; base < expected.size(); base += vocab) {
    const auto log_sum = [&](const std::vector<float>& z) {
      const double top =
          *std::max_element(z.begin() + static_cast<int64_t>(base), z.begin() + static_cast<int64_t>(base + vocab));
      double sum = 0;
      for (size_t i = 0; i < vocab; ++i) sum += std::exp(z[base + i] - top);
      return top + std::log(sum);
    };
    const double zp = log_sum(expected), zq = log_sum(got);
    double sum = 0;
    for (size_t i = 0; i < vocab; ++i) {
      const double lp = expected[base + i] - zp, lq = got[base + i] - zq;
      sum += std::exp(lp) * (lp - lq);
    }
    kl.push_back(sum);
  }
  std::nth_element(kl.begin(), kl.begin() + static_cast<int64_t>(kl.size() / 2), kl.end());
  return kl[kl.size() / 2];
}

}  // namespace stretto::test
