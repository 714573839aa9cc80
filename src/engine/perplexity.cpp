#include "engine/perplexity.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "engine/sampler.h"

namespace stretto {

double PerplexityResult::perplexity() const { return std::exp(nll); }
double PerplexityResult::perplexity_error() const { return perplexity() * nll_error; }

std::vector<std::vector<int32_t>> perplexity_windows(const std::vector<int32_t>& tokens, const PerplexityOptions& o) {
  if (o.n_ctx < 4) fail(ErrorKind::kBadArgument, "perplexity: a window of {} tokens, wanted at least 4 (-c)", o.n_ctx);
  uint64_t n = tokens.size() / o.n_ctx;
  if (n == 0) {
    fail(ErrorKind::kBadArgument, "perplexity: the text has {} tokens, one window needs {} (-c {} or a longer text)",
         tokens.size(), o.n_ctx, std::max<size_t>(4, tokens.size()));
  }
  if (o.max_windows >= 0) n = std::min(n, static_cast<uint64_t>(o.max_windows));
  std::vector<std::vector<int32_t>> out;
  for (uint64_t i = 0; i < n; ++i) {
    const auto first = tokens.begin() + static_cast<int64_t>(i * o.n_ctx);
    out.emplace_back(first, first + static_cast<int64_t>(o.n_ctx));
    if (o.bos >= 0) out.back()[0] = o.bos;
  }
  return out;
}

double log_sum_exp(std::span<const float> logits) {
  const double top = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float l : logits) sum += std::exp(l - top);
  return top + std::log(sum);
}

PerplexityResult run_perplexity(Session& session, const std::vector<std::vector<int32_t>>& windows,
                                const PerplexityHooks& hooks) {
  PerplexityResult result;
  double sum = 0, square = 0;
  const uint64_t vocab = session.vocab_size();
  for (uint64_t w = 0; w < windows.size(); ++w) {
    const std::vector<int32_t>& window = windows[w];
    const uint64_t half = window.size() / 2;
    session.rewind(0);
    session.append(std::span(window).first(half));
    session.append_all_logits(std::span(window).subspan(half), 0, [&](uint64_t first, std::span<const float> rows) {
      for (uint64_t i = 0; i * vocab < rows.size() && first + i + 1 < window.size(); ++i) {
        const auto logits = rows.subspan(i * vocab, vocab);
        const int32_t next = window[first + i + 1];
        const double nll = log_sum_exp(logits) - logits[static_cast<size_t>(next)];
        sum += nll;
        square += nll * nll;
        ++result.n_tokens;
        if (hooks.score) hooks.score(w, first + i, logits, next);
      }
    });
    const auto n = static_cast<double>(result.n_tokens);
    result.nll = sum / n;
    result.nll_error = n > 1 ? std::sqrt(std::max(0.0, square / n - result.nll * result.nll) / (n - 1)) : 0;
    if (hooks.proceed && !hooks.proceed(w + 1, windows.size(), result)) break;
  }
  return result;
}

void Divergence::add(std::span<const float> base, std::span<const float> tested, int32_t next) {
  const double zp = log_sum_exp(base), zq = log_sum_exp(tested);
  double kl = 0;
  for (size_t i = 0; i < base.size(); ++i) {
    const double lp = base[i] - zp;
    if (lp > -80) kl += std::exp(lp) * (lp - (tested[i] - zq));
  }
  kl_.push_back(kl);
  same_ += arg_max(base) == arg_max(tested);
  const auto at = static_cast<size_t>(next);
  const double lp = base[at] - zp, lq = tested[at] - zq;
  const double delta = std::exp(lq) - std::exp(lp);
  square_delta_ += delta * delta;
  delta_nll_ += lp - lq;
}

Divergence::Summary Divergence::summary() const {
  Summary s;
  s.n = kl_.size();
  if (kl_.empty()) return s;
  std::vector<double> sorted = kl_;
  std::sort(sorted.begin(), sorted.end());
  const auto n = static_cast<double>(s.n);
  double sum = 0, square = 0;
  for (const double k : sorted) sum += k, square += k * k;
  const auto quantile = [&](double q) { return sorted[static_cast<size_t>(q * (n - 1))]; };
  s.mean_kl = sum / n;
  s.mean_kl_error = n > 1 ? std::sqrt(std::max(0.0, square / n - s.mean_kl * s.mean_kl) / (n - 1)) : 0;
  s.median_kl = quantile(0.5);
  s.kl_99 = quantile(0.99);
  s.kl_999 = quantile(0.999);
  s.max_kl = sorted.back();
  s.same_top = static_cast<double>(same_) / n;
  s.rms_delta_p = std::sqrt(square_delta_ / n);
  s.ln_ppl_ratio = delta_nll_ / n;
  return s;
}

}  // namespace stretto
