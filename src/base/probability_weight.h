// Softmax weights as whole numbers, so that sums of them are exact in any order and a draw is the same token on every
// machine and device. Needs IEEE double arithmetic without fused multiply-add (-ffp-contract=off, nvcc --fmad=false):
// only products, sums and conversions, each rounded once.
#pragma once

#include <cstdint>

namespace stretto {

inline constexpr int kWeightBits = 44;
inline constexpr uint64_t kTopWeight = uint64_t{1} << kWeightBits;
// Sums over this many weights do not overflow.
inline constexpr uint64_t kMaxWeights = uint64_t{1} << (63 - kWeightBits);

// The terms of e^r from r^(n-1) on, over r^(n-1) / (n-1)!, up to r^13.
template <int n = 1>
constexpr double exponential_series(double r) {
  if constexpr (n > 13) {
    return 1;
  } else {
    const double factor = r * (1.0 / n);
    const double product = factor * exponential_series<n + 1>(r);
    return 1 + product;
  }
}

// floor(e^x * 2^44) for the distance x <= 0 of a logit from the largest one; 2^44 where x is NaN (both infinite).
// e^x = 2^k * e^r with |r| <= ln(2) / 2; ln(2) in two parts, the first times k exact.
constexpr uint64_t probability_weight(double x) {
  constexpr double kLog2E = 1.44269504088896338700, kLn2High = 6.93147180369123816490e-01,
                   kLn2Low = 1.90821492927058770002e-10, kSmallest = -31;  // e^-31 < 2^-44
  if (!(x < 0)) return kTopWeight;
  if (x < kSmallest) return 0;
  const double quotient = x * kLog2E;
  const auto k = static_cast<int>(quotient - 0.5);
  if (k < -kWeightBits) return 0;
  const double high = k * kLn2High, low = k * kLn2Low;
  const double r = (x - high) - low;
  const auto scale = static_cast<double>(uint64_t{1} << (kWeightBits + k));
  return static_cast<uint64_t>(exponential_series(r) * scale);
}

// The smallest sum of leading weights whose share of `total` reaches p: 1 .. total.
constexpr uint64_t weight_for_share(double p, uint64_t total) {
  const double wanted = p * static_cast<double>(total);
  if (!(wanted < static_cast<double>(total))) return total;
  const auto whole = static_cast<uint64_t>(wanted);
  const uint64_t need = whole + (static_cast<double>(whole) < wanted ? 1 : 0);
  return need < 1 ? 1 : need;
}

// The smallest sum of leading weights beyond the share u in [0, 1): the token at which it is reached is drawn.
constexpr uint64_t weight_for_draw(double u, uint64_t total) {
  const auto whole = static_cast<uint64_t>(u * static_cast<double>(total));
  return whole < total ? whole + 1 : total;
}

}  // namespace stretto
