// The sampling chain on the device chooses what the sampler of the engine chooses, draw by draw.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <future>
#include <thread>

#include "cuda/device.h"
#include "cuda/executable.h"
#include "cuda/memory.h"
#include "cuda/stopwatch.h"
#include "cuda/token_sampler.h"
#include "engine/sampler.h"

namespace stretto::test {
namespace {

using cuda::check_cuda;

enum class Shape { kPeaked, kGaussian, kNearlyFlat, kFlat, kTies, kFewTies, kHoles };

// Logits like a model's (a few tokens far above the rest), and such as make a selection work hard.
std::vector<float> make_logits(Shape shape, uint32_t n, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> out(n);
  for (uint32_t i = 0; i < n; ++i) {
    const float x = normal(random);
    switch (shape) {
      case Shape::kPeaked:
        out[i] = 2 * x + (i % 997 == 5 ? 9.0F : 0.0F) + (i == n / 3 ? 14.0F : 0.0F);
        break;
      case Shape::kGaussian:
      case Shape::kHoles:
        out[i] = 3 * x;
        break;
      case Shape::kNearlyFlat:
        out[i] = 1e-3F * x;
        break;
      case Shape::kFlat:
        out[i] = -1.25F;
        break;
      case Shape::kTies:
        out[i] = std::round(x);
        break;
      case Shape::kFewTies:
        out[i] = i % 100 == 7 ? 4.0F : 0.0F;
        break;
    }
    if (shape == Shape::kHoles && i % 3 != 0) out[i] = i % 3 == 1 ? -INFINITY : (i % 2 == 0 ? NAN : -0.0F);
  }
  return out;
}

struct DrawCase {
  std::string name;
  uint32_t n = 0;
  Shape shape = Shape::kPeaked;
  SamplingParams params;
  int n_draws = 0;
};

std::vector<int32_t> prompt_of(const DrawCase& c, const std::vector<float>& logits) {
  std::vector<int32_t> out;
  const int32_t best = arg_max(logits);
  for (int32_t i = 0; i < 90; ++i) out.push_back((best + i * i) % static_cast<int32_t>(c.n));
  return out;
}

std::vector<int32_t> on_host(const DrawCase& c, const std::vector<float>& logits) {
  Sampler sampler(c.params, c.n, {3, 5});
  sampler.accept(prompt_of(c, logits));
  std::vector<int32_t> out;
  for (int i = 0; i < c.n_draws; ++i) {
    out.push_back(sampler.sample(logits));
    sampler.accept(out.back());
  }
  return out;
}

// The chain alone, on logits that stay.
class DeviceChain {
 public:
  DeviceChain(uint32_t n, uint64_t n_ctx) : n_(n), sampler_(n, n_ctx) {
    check_cuda(cudaDeviceGetAttribute(&n_sm_, cudaDevAttrMultiProcessorCount, 0), "device");
    uint64_t bytes = 0;
    for (const uint64_t size : sampler_.sizes()) bytes += cuda::Cursor::rounded(size);
    arena_ = cuda::DeviceArena(bytes, "test");
    arena_.clear();
    cuda::Cursor cursor(arena_.data());
    sampler_.place(cursor);
    logits_ = cuda::DeviceArena(n * sizeof(float), "test");
    step_ = cuda::DeviceArena(256, "test");
    mailbox_ = cuda::PinnedBuffer(cuda::kMailboxSize * sizeof(uint64_t), "test");
    queue_.stream = stream_.get();
  }
  void begin(const std::vector<float>& logits, const TokenChoice& choice, uint64_t position) {
    check_cuda(cudaMemcpy(logits_.data(), logits.data(), n_ * sizeof(float), cudaMemcpyHostToDevice), "logits");
    step_.clear();
    check_cuda(cudaDeviceSynchronize(), "start");
    n_steps_ = 0;
    sampler_.begin(stream_.get(), choice, position);
  }
  int32_t next() {
    launch();
    stream_.wait();
    const uint64_t got = reinterpret_cast<const volatile uint64_t*>(mailbox_.data())[n_steps_ % cuda::kMailboxSize];
    EXPECT_EQ(got >> 32, n_steps_);
    return static_cast<int32_t>(static_cast<uint32_t>(got));
  }
  double us_per_launch(int n) {
    for (int i = 0; i < 3; ++i) next();
    const cuda::Stopwatch watch;
    return watch.us(stream_.get(), [&] {
      for (int i = 0; i < n; ++i) launch();
    }) / n;
  }

 private:
  void launch() {
    sampler_.provide_uniforms(stream_.get(), n_steps_++);
    auto* const state = reinterpret_cast<cuda::StepState*>(step_.data());
    sampler_.launch(queue_, {.n_sm = static_cast<uint32_t>(n_sm_)},
                    {.logits = reinterpret_cast<const float*>(logits_.data()),
                     .token = reinterpret_cast<int32_t*>(step_.data() + 128),
                     .state = state,
                     .mailbox = reinterpret_cast<volatile uint64_t*>(mailbox_.data()),
                     .mailbox_size = cuda::kMailboxSize});
  }

  uint32_t n_ = 0;
  int n_sm_ = 0;
  cuda::TokenSampler sampler_;
  cuda::Stream stream_;
  cuda::Queue queue_;
  cuda::DeviceArena arena_, logits_, step_;
  cuda::PinnedBuffer mailbox_;
  uint64_t n_steps_ = 0;
};

SamplingParams params_of(double temperature, int32_t top_k, double top_p, double min_p) {
  SamplingParams p;
  p.temperature = temperature;
  p.top_k = top_k;
  p.top_p = top_p;
  p.min_p = min_p;
  p.seed = 11;
  return p;
}

SamplingParams with_penalties(SamplingParams p, int32_t last_n) {
  p.repeat_last_n = last_n;
  p.repeat_penalty = 1.1;
  p.frequency_penalty = 0.3;
  p.presence_penalty = 0.2;
  p.logit_bias = {{7, 1.5}, {11, -INFINITY}, {7, 0.25}};
  return p;
}

std::vector<std::pair<std::string, SamplingParams>> settings() {
  SamplingParams temperature_first = params_of(1.5, 60, 0.9, 0.02);
  temperature_first.order = {"temperature", "min_p", "top_p", "top_k"};
  return {{"common", params_of(0.7, 40, 0.95, 0.05)},
          {"penalties", with_penalties(params_of(0.8, 40, 0.95, 0.05), 64)},
          {"penalties over all", with_penalties(params_of(1.2, 200, 0.99, 0), -1)},
          {"greedy with penalties", with_penalties(params_of(0, 40, 1, 0), 8)},
          {"wide top-k", params_of(1.0, 1000, 1, 0)},
          {"top-k beyond a block", params_of(1.0, 5000, 0.9, 0)},
          {"temperature first", temperature_first},
          {"top-p", params_of(1.0, 0, 0.95, 0)},
          {"top-p 0", params_of(1.0, 0, 0.0, 0)},
          {"min-p", params_of(1.0, 0, 1, 0.001)},
          {"everything", params_of(1.3, 0, 1, 0)}};
}

std::vector<DrawCase> draw_cases() {
  constexpr std::pair<Shape, const char*> kShapes[] = {
      {Shape::kPeaked, "peaked"},   {Shape::kGaussian, "gaussian"}, {Shape::kNearlyFlat, "nearly flat"},
      {Shape::kFlat, "flat"},       {Shape::kTies, "ties"},         {Shape::kFewTies, "few ties"},
      {Shape::kHoles, "with holes"}};
  std::vector<DrawCase> out;
  for (const auto& [n, n_draws] : {std::pair{512U, 60}, std::pair{32003U, 60}, std::pair{151936U, 40}}) {
    for (const auto& [shape, shape_name] : kShapes)
      for (const auto& [name, params] : settings())
        out.push_back({fmt::format("{} of {}, {}", shape_name, n, name), n, shape, params, n_draws});
  }
  out.push_back({"peaked of 262144, common", 262144, Shape::kPeaked, params_of(0.7, 40, 0.95, 0.05), 200});
  out.push_back({"flat of 262144, top-p", 262144, Shape::kFlat, params_of(0.7, 0, 0.95, 0), 60});
  out.push_back({"peaked of 151936, hot", 151936, Shape::kPeaked, params_of(2.0, 0, 0.99, 0), 100});
  return out;
}

TEST(CudaSampling, TenThousandDrawsAreTheSamplers) {
  SKIP_WITHOUT_DEVICE();
  const std::vector<DrawCase> cases = draw_cases();
  std::vector<std::vector<int32_t>> expected(cases.size());
  std::atomic<size_t> next_case{0};
  std::vector<std::future<void>> threads;
  for (unsigned t = 0; t < std::max(1U, std::thread::hardware_concurrency()); ++t)
    threads.push_back(std::async(std::launch::async, [&] {
      for (size_t i = next_case++; i < cases.size(); i = next_case++)
        expected[i] = on_host(cases[i], make_logits(cases[i].shape, cases[i].n, 1));
    }));
  for (auto& t : threads) t.get();
  int n_draws = 0;
  for (size_t i = 0; i < cases.size(); ++i) {
    const DrawCase& c = cases[i];
    const std::vector<float> logits = make_logits(c.shape, c.n, 1);
    Sampler sampler(c.params, c.n, {3, 5});
    sampler.accept(prompt_of(c, logits));
    TokenChoice choice;
    ASSERT_EQ(sampler.device_choice(choice), "");
    DeviceChain chain(c.n, 512);
    chain.begin(logits, choice, 100);
    std::vector<int32_t> got;
    for (int k = 0; k < c.n_draws; ++k) got.push_back(chain.next());
    EXPECT_EQ(got, expected[i]) << c.name;
    n_draws += c.n_draws;
  }
  std::printf("%d draws, %zu settings and logits\n", n_draws, cases.size());
  EXPECT_GE(n_draws, 10000);
}

TEST(CudaSampling, ChainsOneAfterTheOtherInOnePlace) {
  SKIP_WITHOUT_DEVICE();
  constexpr uint32_t kVocab = 151936;
  DeviceChain chain(kVocab, 512);
  for (const auto& [name, params] : settings()) {
    const DrawCase c{name, kVocab, Shape::kGaussian, params, 5};
    const std::vector<float> logits = make_logits(c.shape, c.n, 2);
    Sampler sampler(params, kVocab, {3, 5});
    sampler.accept(prompt_of(c, logits));
    TokenChoice choice;
    ASSERT_EQ(sampler.device_choice(choice), "");
    chain.begin(logits, choice, 100);
    std::vector<int32_t> got;
    for (int k = 0; k < c.n_draws; ++k) got.push_back(chain.next());
    EXPECT_EQ(got, on_host(c, logits)) << name;
  }
}

// For docs/performance.md; no gate.
TEST(CudaSampling, TimeOfAChoice) {
  SKIP_WITHOUT_DEVICE();
  constexpr uint32_t kVocab = 151936;
  DeviceChain chain(kVocab, 4096);
  for (const Shape shape : {Shape::kPeaked, Shape::kGaussian, Shape::kFlat}) {
    const std::vector<float> logits = make_logits(shape, kVocab, 3);
    for (const auto& [name, params] : settings()) {
      Sampler sampler(params, kVocab);
      sampler.accept(prompt_of({name, kVocab, shape, params, 0}, logits));
      TokenChoice choice;
      ASSERT_EQ(sampler.device_choice(choice), "");
      chain.begin(logits, choice, 100);
      std::printf("%d %-24s %6.1f us\n", static_cast<int>(shape), name.c_str(), chain.us_per_launch(60));
    }
  }
}

}  // namespace
}  // namespace stretto::test
