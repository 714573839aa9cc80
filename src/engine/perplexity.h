// Perplexity of a text, and the divergence of one model's predictions from another's.
// Method (that of llama.cpp, so that numbers compare): the tokens are cut into windows of n_ctx, the last incomplete
// one dropped; each window starts with bos where the model has one in place of its first token; the second half of each
// window is scored.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "engine/session.h"

namespace stretto {

struct PerplexityOptions {
  uint64_t n_ctx = 512;
  int64_t max_windows = -1;  // -1: all
  int32_t bos = -1;          // -1: none
};

struct PerplexityResult {
  uint64_t n_tokens = 0;  // scored
  double nll = 0;         // mean negative log-likelihood, nats
  double nll_error = 0;   // standard error of the mean
  double perplexity() const;
  double perplexity_error() const;
};

// The windows of a text, bos already in place. Throws Error(kBadArgument) when there is not one whole window.
std::vector<std::vector<int32_t>> perplexity_windows(const std::vector<int32_t>& tokens, const PerplexityOptions& o);

// Runs the windows one after the other. `score(window, position, logits, next)` sees every scored position; `proceed`
// may stop between windows.
struct PerplexityHooks {
  std::function<void(uint64_t window, uint64_t position, std::span<const float> logits, int32_t next)> score;
  std::function<bool(uint64_t done, uint64_t total, const PerplexityResult& so_far)> proceed;
};
PerplexityResult run_perplexity(Session& session, const std::vector<std::vector<int32_t>>& windows,
                                const PerplexityHooks& hooks);

// Log-softmax normaliser: ln sum exp(logits), in float64.
double log_sum_exp(std::span<const float> logits);

// Statistics of KL(base || tested) over positions, in nats.
class Divergence {
 public:
  void add(std::span<const float> base, std::span<const float> tested, int32_t next);
  struct Summary {
    uint64_t n = 0;
    double mean_kl = 0, mean_kl_error = 0, median_kl = 0, kl_99 = 0, kl_999 = 0, max_kl = 0;
    double same_top = 0;      // share of positions with the same most likely token
    double rms_delta_p = 0;   // of the probability of the true next token
    double ln_ppl_ratio = 0;  // mean difference of the negative log-likelihoods, tested minus base
  };
  Summary summary() const;

 private:
  std::vector<double> kl_;
  uint64_t same_ = 0;
  double square_delta_ = 0, delta_nll_ = 0;
};

}  // namespace stretto
