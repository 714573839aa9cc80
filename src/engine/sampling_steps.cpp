#include "engine/sampling_steps.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "base/probability_weight.h"

namespace stretto {
namespace {

constexpr auto kBetter = [](const Candidate& a, const Candidate& b) {
  return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
};

}  // namespace

void Candidates::reserve(size_t n) {
  list_.reserve(n);
  p_.reserve(n);
  weights_.reserve(n);
}

void Candidates::assign(std::span<const float> logits) {
  list_.clear();
  for (size_t i = 0; i < logits.size(); ++i)
    if (logits[i] > -std::numeric_limits<float>::infinity()) list_.push_back({logits[i], static_cast<int32_t>(i)});
  // Every token forbidden, or a model that computes NaN: something must still be chosen.
  if (list_.empty()) list_.push_back({0, 0});
  sorted_ = false;
}

void Candidates::sort() {
  if (!sorted_) std::sort(list_.begin(), list_.end(), kBetter);
  sorted_ = true;
}

void Candidates::truncate(size_t n) {
  CHECK(n >= 1);
  if (n < list_.size()) list_.resize(n);
}

void Candidates::keep_first(size_t n) { truncate(std::max<size_t>(n, 1)); }

std::span<const double> Candidates::probabilities() {
  double top = list_.front().logit, sum = 0;
  for (const Candidate& c : list_) top = std::max(top, c.logit);
  p_.clear();
  for (const Candidate& c : list_) {
    p_.push_back(std::exp(c.logit - top));
    sum += p_.back();
  }
  for (double& p : p_) p /= sum;
  return p_;
}

void Candidates::keep_top_k(size_t k) {
  if (k < list_.size() && !sorted_)
    std::nth_element(list_.begin(), list_.begin() + static_cast<int64_t>(k), list_.end(), kBetter);
  truncate(k);
  sort();
}

// Weights of the present logits, in the present order; returns their sum.
uint64_t Candidates::weigh() {
  CHECK(list_.size() <= kMaxWeights);
  double top = list_.front().logit;
  for (const Candidate& c : list_) top = std::max(top, c.logit);
  weights_.clear();
  uint64_t total = 0;
  for (const Candidate& c : list_) {
    weights_.push_back(probability_weight(c.logit - top));
    total += weights_.back();
  }
  return total;
}

// The smallest prefix whose probability reaches p.
void Candidates::keep_top_p(double p, size_t min_keep) {
  sort();
  const uint64_t need = weight_for_share(p, weigh());
  uint64_t seen = 0;
  for (size_t i = 0; i < weights_.size(); ++i) {
    seen += weights_[i];
    if (seen >= need && i + 1 >= min_keep) return truncate(i + 1);
  }
}

void Candidates::keep_min_p(double p, size_t min_keep) {
  sort();
  const double floor = list_.front().logit + std::log(p);
  size_t n = std::max<size_t>(1, min_keep);
  while (n < list_.size() && list_[n].logit >= floor) ++n;
  truncate(n);
}

// Those whose surprise is nearest to the entropy.
void Candidates::keep_typical(double p, size_t min_keep) {
  sort();
  const auto all = probabilities();
  double entropy = 0;
  for (const double q : all)
    if (q > 0) entropy -= q * std::log(q);
  struct Item {
    double distance, p;
    size_t index;
  };
  std::vector<Item> items;
  for (size_t i = 0; i < all.size(); ++i) items.push_back({std::abs(-std::log(all[i]) - entropy), all[i], i});
  std::stable_sort(items.begin(), items.end(), [](const Item& a, const Item& b) { return a.distance < b.distance; });
  std::vector<Candidate> kept;
  double seen = 0;
  for (size_t i = 0; i < items.size(); ++i) {
    kept.push_back(list_[items[i].index]);
    seen += items[i].p;
    if (seen > p && i + 1 >= min_keep) break;
  }
  list_.assign(kept.begin(), kept.end());
  sorted_ = false;
  sort();
}

// Drops logits more than n standard deviations (of the whole population) below the largest.
void Candidates::keep_top_n_sigma(double n) {
  sort();
  double mean = 0, square = 0;
  for (const Candidate& c : list_) mean += c.logit / static_cast<double>(list_.size());
  for (const Candidate& c : list_) square += (c.logit - mean) * (c.logit - mean) / static_cast<double>(list_.size());
  const double floor = list_.front().logit - n * std::sqrt(square);
  size_t kept = 1;
  while (kept < list_.size() && list_[kept].logit >= floor) ++kept;
  truncate(kept);
}

// Of the candidates at or above the threshold only the least likely stays.
void Candidates::remove_top_choices(double threshold, size_t min_keep) {
  sort();
  const auto all = probabilities();
  size_t above = 0;
  while (above < all.size() && all[above] >= threshold) ++above;
  if (above < 2 || list_.size() - (above - 1) < min_keep) return;
  list_.erase(list_.begin(), list_.begin() + static_cast<int64_t>(above) - 1);
}

void Candidates::scale(double temperature) {
  if (temperature <= 0) return keep_top_k(1);
  for (Candidate& c : list_) c.logit /= temperature;
}

// Between temperature - range and temperature + range, by the share of the largest possible entropy.
void Candidates::scale_by_entropy(double temperature, double range, double exponent) {
  if (list_.size() < 2) return;
  double entropy = 0;
  for (const double q : probabilities())
    if (q > 0) entropy -= q * std::log(q);
  const double low = std::max(0.0, temperature - range), high = temperature + range;
  const double share = entropy / std::log(static_cast<double>(list_.size()));
  scale(low + (high - low) * std::pow(share, exponent));
}

void Candidates::keep_below_surprise(double mu_bits) {
  sort();
  const auto all = probabilities();
  size_t n = 0;
  while (n < all.size() && -std::log2(all[n]) <= mu_bits) ++n;
  truncate(std::max<size_t>(n, 1));
}

size_t Candidates::draw(double u) {
  const uint64_t need = weight_for_draw(u, weigh());
  uint64_t seen = 0;
  for (size_t i = 0; i < weights_.size(); ++i) {
    seen += weights_[i];
    if (seen >= need) return i;
  }
  return weights_.size() - 1;
}

}  // namespace stretto
