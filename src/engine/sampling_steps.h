// The steps of the sampling chain, each on what the previous one left.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace stretto {

struct Candidate {
  double logit;
  int32_t id;
};

// Candidates with finite logits. The steps that need it sort by falling logit (equal logits: lower id first), so that
// no result depends on a sorting algorithm. Never empty after a step.
class Candidates {
 public:
  void reserve(size_t n);
  void assign(std::span<const float> logits);  // ids are the indices; -infinity and NaN are left out

  size_t size() const { return list_.size(); }
  const Candidate& operator[](size_t i) const { return list_[i]; }
  std::span<const Candidate> list() const { return list_; }

  void keep_top_k(size_t k);
  void keep_top_p(double p, size_t min_keep);
  void keep_min_p(double p, size_t min_keep);
  void keep_typical(double p, size_t min_keep);
  void keep_top_n_sigma(double n);
  void remove_top_choices(double threshold, size_t min_keep);  // XTC, once its draw said so
  void scale(double temperature);                              // <= 0: only the maximum stays
  void scale_by_entropy(double temperature, double range, double exponent);
  void keep_below_surprise(double mu_bits);  // mirostat 2
  void keep_first(size_t n);

  void sort();
  // Softmax of the present logits, in the present order.
  std::span<const double> probabilities();
  // Index of the candidate at which the cumulative probability passes u in [0, 1); like keep_top_p by whole weights
  // (base/probability_weight.h): what is less likely than 2^-44 of the top is never drawn.
  size_t draw(double u);

 private:
  void truncate(size_t n);
  uint64_t weigh();
  std::vector<Candidate> list_;
  std::vector<double> p_;
  std::vector<uint64_t> weights_;
  bool sorted_ = false;
};

}  // namespace stretto
