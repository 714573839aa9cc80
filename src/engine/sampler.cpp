#include "engine/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

#include "base/check.h"
#include "base/error.h"

namespace stretto {
namespace {

constexpr std::string_view kSteps[] = {"penalties", "dry",   "top_n_sigma", "top_k",      "typ_p",
                                       "top_p",     "min_p", "xtc",         "temperature"};
constexpr size_t kMirostat1Candidates = 100;

void require(bool ok, std::string_view what, double value, std::string_view wanted) {
  if (!ok) fail(ErrorKind::kBadArgument, "{} = {}: wanted {}", what, value, wanted);
}

}  // namespace

std::span<const std::string_view> sampler_step_names() { return kSteps; }

void check(const SamplingParams& p) {
  require(std::isfinite(p.temperature), "temperature", p.temperature, "a number");
  require(p.top_p >= 0, "top_p", p.top_p, "0 .. 1");
  require(p.min_p <= 1, "min_p", p.min_p, "0 .. 1");
  require(p.typical_p > 0, "typical", p.typical_p, "above 0");
  require(std::isfinite(p.repeat_penalty) && p.repeat_penalty > 0, "repeat_penalty", p.repeat_penalty, "above 0");
  require(std::isfinite(p.frequency_penalty), "frequency_penalty", p.frequency_penalty, "a number");
  require(std::isfinite(p.presence_penalty), "presence_penalty", p.presence_penalty, "a number");
  require(p.repeat_last_n >= -1, "repeat_last_n", p.repeat_last_n, "-1 (whole context), 0 (off) or a count");
  require(p.dry_penalty_last_n >= -1, "dry_penalty_last_n", p.dry_penalty_last_n,
          "-1 (whole context), 0 (off) or a count");
  require(p.xtc_probability >= 0 && p.xtc_probability <= 1, "xtc_probability", p.xtc_probability, "0 .. 1");
  require(p.mirostat >= 0 && p.mirostat <= 2, "mirostat", p.mirostat, "0, 1 or 2");
  require(p.dynatemp_range >= 0, "dynatemp_range", p.dynatemp_range, "0 or more");
  for (const std::string& name : p.order) {
    if (std::find(std::begin(kSteps), std::end(kSteps), name) == std::end(kSteps))
      fail(ErrorKind::kBadArgument, "unknown sampling step \"{}\"", name);
  }
}

int32_t arg_max(std::span<const float> logits) {
  CHECK(!logits.empty());
  return static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

Sampler::Sampler(const SamplingParams& params, uint64_t vocab_size, std::vector<int32_t> suppressed,
                 DryBreakers breakers)
    : params_(params), breakers_(std::move(breakers)), random_(params.seed), mu_(2 * params.mirostat_tau) {
  check(params_);
  for (const auto& [id, bias] : params_.logit_bias)
    require(id >= 0 && static_cast<uint64_t>(id) < vocab_size, "logit_bias token", id, "an id of the vocabulary");
  std::erase_if(suppressed, [&](int32_t id) { return id < 0 || static_cast<uint64_t>(id) >= vocab_size; });
  std::map<int32_t, double> sums;
  for (const auto& [id, bias] : params_.logit_bias) sums[id] += bias;
  for (const int32_t id : suppressed) sums[id] = -std::numeric_limits<double>::infinity();
  for (const auto& [id, bias] : sums) bias_.emplace_back(id, static_cast<float>(bias));
  logits_.reserve(vocab_size);
  candidates_.reserve(vocab_size);
}

bool Sampler::is_plain_greedy() const {
  const SamplingParams& p = params_;
  const bool penalties =
      p.repeat_last_n != 0 && (p.repeat_penalty != 1 || p.frequency_penalty != 0 || p.presence_penalty != 0);
  return p.temperature <= 0 && p.mirostat == 0 && bias_.empty() && !penalties && p.dry_multiplier == 0;
}

void Sampler::prepare(std::span<const float> logits) {
  logits_.assign(logits.begin(), logits.end());
  for (const auto& [id, bias] : bias_) logits_[static_cast<size_t>(id)] += bias;
}

int32_t Sampler::sample(std::span<const float> logits) {
  if (is_plain_greedy()) return arg_max(logits);
  prepare(logits);
  if (params_.mirostat != 0) return mirostat();
  // Steps on the whole vocabulary come before the candidates are listed, wherever the order has them.
  for (const std::string& name : params_.order) {
    if (name == "penalties") apply_penalties(params_, history_, logits_);
    if (name == "dry") apply_dry(params_, breakers_, history_, logits_);
  }
  candidates_.assign(logits_);
  if (params_.temperature <= 0) {
    candidates_.keep_top_k(1);
    return candidates_[0].id;
  }
  for (const std::string& name : params_.order) step(name);
  candidates_.sort();
  return candidates_[candidates_.draw(uniform())].id;
}

void Sampler::step(std::string_view name) {
  const SamplingParams& p = params_;
  const auto keep = static_cast<size_t>(std::max(p.min_keep, 1));
  if (name == "top_k" && p.top_k > 0) candidates_.keep_top_k(std::max(static_cast<size_t>(p.top_k), keep));
  if (name == "top_p" && p.top_p < 1) candidates_.keep_top_p(p.top_p, keep);
  if (name == "min_p" && p.min_p > 0) candidates_.keep_min_p(p.min_p, keep);
  if (name == "typ_p" && p.typical_p < 1) candidates_.keep_typical(p.typical_p, keep);
  if (name == "top_n_sigma" && p.top_n_sigma > 0) candidates_.keep_top_n_sigma(p.top_n_sigma);
  if (name == "xtc" && p.xtc_probability > 0 && p.xtc_threshold <= 0.5 && uniform() < p.xtc_probability)
    candidates_.remove_top_choices(p.xtc_threshold, keep);
  if (name == "temperature") apply_temperature();
}

void Sampler::apply_temperature() {
  if (params_.dynatemp_range > 0) {
    candidates_.scale_by_entropy(params_.temperature, params_.dynatemp_range, params_.dynatemp_exponent);
  } else {
    candidates_.scale(params_.temperature);
  }
}

// Mirostat 1: how many candidates keep the expected surprise at mu, from an estimate of the Zipf exponent.
double Sampler::mirostat_1_cut() {
  const auto p = candidates_.probabilities();
  const size_t n = std::min(kMirostat1Candidates, p.size());
  double tb = 0, tt = 0;
  for (size_t i = 0; i + 1 < n; ++i) {
    const double t = std::log(static_cast<double>(i + 2) / static_cast<double>(i + 1)), b = std::log(p[i] / p[i + 1]);
    tb += t * b;
    tt += t * t;
  }
  if (tt == 0) return 1;
  const double s = tb / tt, epsilon = s - 1;
  return std::pow(epsilon * std::exp2(mu_) / (1 - std::pow(static_cast<double>(p.size()), -epsilon)), 1 / s);
}

// Only bias and temperature go before it. mu follows the observed surprise of the token that is drawn.
int32_t Sampler::mirostat() {
  candidates_.assign(logits_);
  if (params_.temperature <= 0) {
    candidates_.keep_top_k(1);
    return candidates_[0].id;
  }
  apply_temperature();
  candidates_.sort();
  if (params_.mirostat == 2) {
    candidates_.keep_below_surprise(mu_);
  } else {
    const double k = mirostat_1_cut();
    candidates_.keep_first(k >= 1 && std::isfinite(k) ? static_cast<size_t>(std::min(k, 1e9)) : 1);
  }
  const size_t i = candidates_.draw(uniform());
  mu_ -= params_.mirostat_eta * (-std::log2(candidates_.probabilities()[i]) - params_.mirostat_tau);
  return candidates_[i].id;
}

// 53 random bits, so that a draw is the same everywhere (std::uniform_real_distribution is not specified that far).
double Sampler::uniform() { return static_cast<double>(random_() >> 11) * 0x1p-53; }

}  // namespace stretto
