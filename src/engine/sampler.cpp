#include "engine/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/check.h"

namespace stretto {
namespace {

// Largest first; equal logits by id, so that the result never depends on the sorting algorithm.
constexpr auto kBetter = [](const auto& a, const auto& b) { return a.logit != b.logit ? a.logit > b.logit : a.id < b.id; };

}  // namespace

int32_t arg_max(std::span<const float> logits) {
  CHECK(!logits.empty());
  return static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

Sampler::Sampler(const SamplingParams& params, uint64_t vocab_size, std::vector<int32_t> suppressed)
    : params_(params), suppressed_(std::move(suppressed)), random_(params.seed) {
  std::sort(suppressed_.begin(), suppressed_.end());
  candidates_.reserve(vocab_size);
  weights_.reserve(vocab_size);
}

bool Sampler::is_suppressed(int32_t id) const { return std::binary_search(suppressed_.begin(), suppressed_.end(), id); }

int32_t Sampler::greedy(std::span<const float> logits) const {
  if (suppressed_.empty()) return arg_max(logits);
  int32_t best = -1;
  for (int32_t i = 0; i < static_cast<int32_t>(logits.size()); ++i)
    if (!is_suppressed(i) && (best < 0 || logits[static_cast<size_t>(i)] > logits[static_cast<size_t>(best)])) best = i;
  return std::max(best, 0);
}

int32_t Sampler::sample(std::span<const float> logits) {
  if (params_.temperature <= 0) return greedy(logits);
  candidates_.clear();
  for (int32_t i = 0; i < static_cast<int32_t>(logits.size()); ++i)
    if (!is_suppressed(i)) candidates_.push_back({logits[static_cast<size_t>(i)], i});
  keep_top_k();
  keep_top_p();
  keep_min_p();
  return draw();
}

void Sampler::keep_top_k() {
  const size_t n = candidates_.size();
  const size_t k = params_.top_k > 0 ? std::min(n, static_cast<size_t>(params_.top_k)) : n;
  if (k < n) std::nth_element(candidates_.begin(), candidates_.begin() + static_cast<int64_t>(k), candidates_.end(), kBetter);
  candidates_.resize(k);
  std::sort(candidates_.begin(), candidates_.end(), kBetter);
}

// The smallest prefix whose probability reaches top_p.
void Sampler::keep_top_p() {
  if (params_.top_p >= 1) return;
  double sum = 0;
  for (const Candidate& c : candidates_) sum += std::exp(c.logit - candidates_.front().logit);
  double seen = 0;
  for (size_t i = 0; i < candidates_.size(); ++i) {
    seen += std::exp(candidates_[i].logit - candidates_.front().logit) / sum;
    if (seen >= params_.top_p) {
      candidates_.resize(i + 1);
      return;
    }
  }
}

void Sampler::keep_min_p() {
  if (params_.min_p <= 0) return;
  const double floor = candidates_.front().logit + std::log(params_.min_p);
  size_t n = 1;
  while (n < candidates_.size() && candidates_[n].logit >= floor) ++n;
  candidates_.resize(n);
}

int32_t Sampler::draw() {
  weights_.clear();
  double sum = 0;
  for (const Candidate& c : candidates_) {
    weights_.push_back(std::exp((c.logit - candidates_.front().logit) / params_.temperature));
    sum += weights_.back();
  }
  // 53 random bits, so that the draw is the same everywhere (std::uniform_real_distribution is not specified so far).
  const double u = static_cast<double>(random_() >> 11) * 0x1p-53 * sum;
  double seen = 0;
  for (size_t i = 0; i < weights_.size(); ++i) {
    seen += weights_[i];
    if (u < seen) return candidates_[i].id;
  }
  return candidates_.back().id;
}

}  // namespace stretto
