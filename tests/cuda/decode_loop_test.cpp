// Generation with the choice on the device: the same tokens and text as with the sampler on the host, the same ends,
// and nothing left behind; prompts that are interrupted.
#include <gtest/gtest.h>

#include <atomic>

#include "cuda/device.h"
#include "engine/generate.h"
#include "models/reference_models.h"

namespace stretto::test {
namespace {

// The same program, with every token chosen on the host.
class HostOnly : public Executable {
 public:
  explicit HostOnly(Executable& inner) : inner_(inner) {}
  const Program& program() const override { return inner_.program(); }
  std::span<const float> run(const Step& step) override { return inner_.run(step); }
  uint64_t memory_bytes() const override { return inner_.memory_bytes(); }

 private:
  Executable& inner_;
};

struct Loaded {
  std::unique_ptr<Checkpoint> checkpoint;
  Model model;
  CompileOptions limits;
  std::unique_ptr<Executable> executable;
};

Loaded load(const std::string& name, const CompileOptions& limits, const CudaOptions& options = {}) {
  Loaded l{
      .checkpoint = open_checkpoint(ReferenceCase{name}.model_path()), .model = {}, .limits = limits, .executable = {}};
  l.model = load_model(*l.checkpoint, {.kv_type = DType::kF16});
  l.executable = make_cuda_backend(options)->compile(l.model.program, limits);
  return l;
}

GenerateParams sampled(uint64_t seed, int64_t max_tokens) {
  GenerateParams p{.max_tokens = max_tokens, .sampling = {}, .stop_ids = {}, .stop_strings = {}};
  p.sampling.seed = seed;
  p.sampling.temperature = 1.1;
  p.sampling.repeat_penalty = 1.1;
  p.sampling.frequency_penalty = 0.1;
  p.sampling.logit_bias = {{9, 0.5}};
  return p;
}

const std::vector<int32_t> kPrompt = {1, 5, 9, 13, 2, 40, 41, 42};

TEST(CudaDecodeLoop, SampledTokensAreThoseOfTheHostHoweverStepsAreLaunched) {
  SKIP_WITHOUT_DEVICE();
  for (const char* name : {"gguf/llama.q8_0", "gguf/qwen3.f16"}) {
    for (const bool graph : {true, false}) {
      Loaded l = load(name, {.n_ctx = 400, .max_tokens = 16, .max_outputs = 1}, {.graph = graph});
      HostOnly host(*l.executable);
      for (uint64_t seed = 1; seed <= 3; ++seed) {
        Session on_host(host, l.limits), on_device(*l.executable, l.limits);
        const Generation expected = generate(on_host, nullptr, kPrompt, sampled(seed, 300), {});
        const Generation got = generate(on_device, nullptr, kPrompt, sampled(seed, 300), {});
        EXPECT_EQ(expected.sampling, "host");
        EXPECT_EQ(got.sampling, "device");
        EXPECT_EQ(got.tokens, expected.tokens) << name << " graph " << graph << " seed " << seed;
        EXPECT_EQ(on_device.tokens(), on_host.tokens());
      }
    }
  }
}

TEST(CudaDecodeLoop, EndsAreThoseOfTheHostAndTheSessionGoesOn) {
  SKIP_WITHOUT_DEVICE();
  Loaded l = load("gguf/qwen3.f16", {.n_ctx = 64, .max_tokens = 16, .max_outputs = 1});
  HostOnly host(*l.executable);
  Session on_host(host, l.limits), on_device(*l.executable, l.limits);
  const std::vector<int32_t> all = generate(on_host, nullptr, kPrompt, sampled(5, -1), {}).tokens;
  EXPECT_EQ(all.size(), 64 - kPrompt.size() + 1);  // to the end of the context
  EXPECT_EQ(generate(on_device, nullptr, kPrompt, sampled(5, -1), {}).tokens, all);
  GenerateParams stopping = sampled(5, -1);
  stopping.stop_ids = {all[10]};
  std::vector<Generation> ends;
  for (Session* s : {&on_host, &on_device}) {
    s->rewind(0);
    ends.push_back(generate(*s, nullptr, kPrompt, stopping, {}));
    // A second answer in the same session begins where the first one ended, whatever the device ran ahead.
    ends.push_back(generate(*s, nullptr, std::vector<int32_t>{3, 4}, sampled(6, 12), {}));
  }
  EXPECT_EQ(ends[0].finish, FinishReason::kStop);
  EXPECT_EQ(ends[2].finish, FinishReason::kStop);
  EXPECT_EQ(ends[0].tokens, ends[2].tokens);
  EXPECT_EQ(ends[1].tokens, ends[3].tokens);
  EXPECT_EQ(on_host.tokens(), on_device.tokens());
}

TEST(CudaDecodeLoop, OtherChainsStayOnTheHostAndSaySo) {
  SKIP_WITHOUT_DEVICE();
  Loaded l = load("gguf/qwen3.f16", {.n_ctx = 64, .max_tokens = 16, .max_outputs = 1});
  GenerateParams p = sampled(1, 5);
  p.sampling.typical_p = 0.9;
  Session session(*l.executable, l.limits);
  EXPECT_EQ(generate(session, nullptr, kPrompt, p, {}).sampling, "host: typical");
}

TEST(CudaDecodeLoop, APromptOfAHundredThousandTokensIsInterruptedWithinAChunk) {
  SKIP_WITHOUT_DEVICE();
  constexpr uint64_t kTokens = 100000, kChunk = 2048;
  Loaded l = load("gguf/qwen3.f16", {.n_ctx = kTokens + 64, .max_tokens = kChunk, .max_outputs = 1});
  std::vector<int32_t> prompt(kTokens);
  for (size_t i = 0; i < prompt.size(); ++i) prompt[i] = static_cast<int32_t>(i * 7919 % 500);
  std::atomic<bool> cancel{false};
  std::vector<uint64_t> seen;
  GenerateHooks hooks;
  hooks.cancel = &cancel;
  hooks.on_prefill = [&](uint64_t done, uint64_t total) {
    EXPECT_EQ(total, kTokens);
    seen.push_back(done);
    if (seen.size() == 3) cancel = true;
  };
  Session session(*l.executable, l.limits);
  const Generation cut = generate(session, nullptr, prompt, sampled(1, 10), hooks);
  EXPECT_EQ(cut.finish, FinishReason::kCancelled);
  EXPECT_TRUE(cut.tokens.empty());
  EXPECT_EQ(seen, (std::vector<uint64_t>{kChunk, 2 * kChunk, 3 * kChunk}));
  EXPECT_EQ(session.position(), 3 * kChunk);
  // What was run stays: the rest of a shorter prompt gives what a whole one gives.
  constexpr uint64_t kShorter = 4 * kChunk;
  const Generation rest =
      generate(session, nullptr, std::span(prompt).subspan(3 * kChunk, kShorter - 3 * kChunk), sampled(2, 20), {});
  Session fresh(*l.executable, l.limits);
  GenerateParams whole = sampled(2, 20);
  fresh.append(std::span(prompt).first(3 * kChunk));
  const Generation expected =
      generate(fresh, nullptr, std::span(prompt).subspan(3 * kChunk, kShorter - 3 * kChunk), whole, {});
  EXPECT_EQ(rest.tokens, expected.tokens);
  EXPECT_EQ(rest.tokens.size(), 20U);
}

}  // namespace
}  // namespace stretto::test
