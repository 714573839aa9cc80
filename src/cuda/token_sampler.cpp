#include "cuda/token_sampler.h"

#include <algorithm>

#include "base/check.h"
#include "base/probability_weight.h"

namespace stretto::cuda {
namespace {

static_assert(kMaxWeights < (uint64_t{1} << kIdBits));

void send(cudaStream_t stream, void* to, const PinnedBuffer& from, uint64_t bytes) {
  check_cuda(cudaMemcpyAsync(to, from.data(), bytes, cudaMemcpyHostToDevice, stream), "sampling parameters");
}

}  // namespace

TokenSampler::TokenSampler(uint32_t vocab_size, uint64_t n_ctx)
    : vocab_size_(vocab_size),
      max_history_(n_ctx + 1),
      settings_(sizeof(SampleSettings), "sampling parameters"),
      bias_(vocab_size * sizeof(float), "logit bias"),
      counts_(vocab_size * sizeof(int32_t), "token counts"),
      history_(max_history_ * sizeof(int32_t), "recent tokens"),
      uniforms_(kUniforms * sizeof(double), "random numbers") {
  CHECK(vocab_size <= kMaxWeights);
}

std::array<uint64_t, 10> TokenSampler::sizes() const {
  return {sizeof(SampleSettings),
          vocab_size_ * sizeof(float),
          vocab_size_ * sizeof(int32_t),
          max_history_ * sizeof(int32_t),
          vocab_size_ * sizeof(uint32_t),
          kMaxListed * sizeof(uint64_t),
          kBinSets * kBins * sizeof(uint64_t),
          kBinSets * kBins * sizeof(uint32_t),
          sizeof(SampleWords),
          kUniforms * sizeof(double)};
}

void TokenSampler::place(Cursor& cursor) {
  const auto size = sizes();
  params_.n = vocab_size_;
  params_.settings = reinterpret_cast<SampleSettings*>(cursor.take(size[0]));
  params_.bias = reinterpret_cast<const float*>(cursor.take(size[1]));
  params_.counts = reinterpret_cast<int32_t*>(cursor.take(size[2]));
  params_.history = reinterpret_cast<int32_t*>(cursor.take(size[3]));
  params_.keys = reinterpret_cast<uint32_t*>(cursor.take(size[4]));
  params_.list = reinterpret_cast<unsigned long long*>(cursor.take(size[5]));
  params_.bin_weight = reinterpret_cast<unsigned long long*>(cursor.take(size[6]));
  params_.bin_count = reinterpret_cast<uint32_t*>(cursor.take(size[7]));
  params_.words = reinterpret_cast<SampleWords*>(cursor.take(size[8]));
  params_.uniforms = reinterpret_cast<const double*>(cursor.take(size[9]));
}

void TokenSampler::stage_bias(cudaStream_t stream, const TokenChoice& choice) {
  if (choice.bias.empty()) return;
  auto* const bias = reinterpret_cast<float*>(bias_.data());
  std::fill_n(bias, vocab_size_, 0.0F);
  for (const auto& [id, value] : choice.bias) bias[id] = value;
  send(stream, const_cast<float*>(params_.bias), bias_, vocab_size_ * sizeof(float));
}

// The tokens that the window holds, and how often each; returns their number.
uint32_t TokenSampler::stage_window(cudaStream_t stream, const TokenChoice& choice) {
  if (choice.window == 0) return 0;
  std::span<const int32_t> history = choice.history;
  if (choice.window > 0 && static_cast<uint64_t>(choice.window) < history.size())
    history = history.last(static_cast<size_t>(choice.window));
  auto* const counts = reinterpret_cast<int32_t*>(counts_.data());
  std::fill_n(counts, vocab_size_, 0);
  for (const int32_t id : history) ++counts[id];
  std::copy(history.begin(), history.end(), reinterpret_cast<int32_t*>(history_.data()));
  send(stream, params_.counts, counts_, vocab_size_ * sizeof(int32_t));
  if (!history.empty()) send(stream, params_.history, history_, history.size() * sizeof(int32_t));
  return static_cast<uint32_t>(history.size());
}

void TokenSampler::begin(cudaStream_t stream, const TokenChoice& choice, uint64_t position) {
  CHECK(choice.history.size() <= position + 1 && choice.n_steps <= choice.steps.size());
  stage_bias(stream, choice);
  const uint32_t n_history = stage_window(stream, choice);
  *reinterpret_cast<SampleSettings*>(settings_.data()) = {.repeat_penalty = choice.repeat_penalty,
                                                          .frequency_penalty = choice.frequency_penalty,
                                                          .presence_penalty = choice.presence_penalty,
                                                          .steps = choice.steps,
                                                          .n_steps = choice.n_steps,
                                                          .draws = choice.random != nullptr,
                                                          .biased = !choice.bias.empty(),
                                                          .window = choice.window,
                                                          .n_history = n_history};
  send(stream, params_.settings, settings_, sizeof(SampleSettings));
  if (choice.random != nullptr) random_ = *choice.random;
}

// Half of them at a time: the steps that read what is replaced lie at least as many steps back. 53 random bits, as the
// sampler of the engine.
void TokenSampler::provide_uniforms(cudaStream_t stream, uint64_t step) {
  constexpr uint64_t kHalf = kUniforms / 2;
  if (step % kHalf != 0) return;
  const uint64_t first = step % kUniforms;
  auto* const numbers = reinterpret_cast<double*>(uniforms_.data());
  for (uint64_t i = 0; i < kHalf; ++i) numbers[first + i] = static_cast<double>(random_() >> 11) * 0x1p-53;
  check_cuda(cudaMemcpyAsync(const_cast<double*>(params_.uniforms) + first, numbers + first, kHalf * sizeof(double),
                             cudaMemcpyHostToDevice, stream),
             "random numbers");
}

void TokenSampler::launch(Queue& queue, const DeviceShape& device, SampleParams out) const {
  SampleParams p = params_;
  p.logits = out.logits;
  p.token = out.token;
  p.state = out.state;
  p.mailbox = out.mailbox;
  p.mailbox_size = out.mailbox_size;
  launch_sample(queue, device, p);
}

}  // namespace stretto::cuda
