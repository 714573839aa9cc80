#include "engine/penalties.h"

#include <algorithm>
#include <cmath>

namespace stretto {
namespace {

constexpr size_t kMaxBreakerBytes = 40, kMaxTailTokens = 20;
// The largest exponent of base^n that float32 holds is this over ln(base).
constexpr double kLnFloatMax = 88.7228391;

std::span<const int32_t> last(std::span<const int32_t> history, int32_t n) {
  if (n < 0 || static_cast<size_t>(n) >= history.size()) return history;
  return history.subspan(history.size() - static_cast<size_t>(n));
}

// Longest tail of a breaker that starts at window[at], or -1 when none starts there.
int64_t breaker_tail(const DryBreakers& breakers, std::span<const int32_t> window, size_t at) {
  const auto found = breakers.find(window[at]);
  if (found == breakers.end()) return -1;
  int64_t longest = -1;
  for (const std::vector<int32_t>& tail : found->second) {
    const auto rest = window.subspan(at + 1);
    const bool matches = tail.size() <= rest.size() && std::equal(tail.begin(), tail.end(), rest.begin());
    if (matches) longest = std::max(longest, static_cast<int64_t>(tail.size()));
  }
  return longest;
}

// How far back a repetition may reach before it meets a breaker.
size_t repetition_limit(const DryBreakers& breakers, std::span<const int32_t> window) {
  for (size_t i = 0; i < window.size(); ++i) {
    const int64_t tail = breaker_tail(breakers, window, window.size() - 1 - i);
    if (tail >= 0) return i - std::min(i, static_cast<size_t>(tail));
  }
  return window.size();
}

// z[j]: length of the longest common prefix of r and r[j..] (the Z function), linear time.
std::vector<size_t> z_function(const std::vector<int32_t>& r) {
  std::vector<size_t> z(r.size(), 0);
  for (size_t i = 1, left = 0, right = 0; i < r.size(); ++i) {
    if (i < right) z[i] = std::min(right - i, z[i - left]);
    while (i + z[i] < r.size() && r[z[i]] == r[i + z[i]]) ++z[i];
    if (i + z[i] > right) left = i, right = i + z[i];
  }
  return z;
}

bool stands_alone(const DryBreakers& breakers, int32_t token) {
  const auto found = breakers.find(token);
  return found != breakers.end() &&
         std::any_of(found->second.begin(), found->second.end(), [](const auto& tail) { return tail.empty(); });
}

}  // namespace

DryBreakers make_dry_breakers(const Tokenizer& tokenizer, const std::vector<std::string>& strings) {
  DryBreakers out;
  for (const std::string& whole : strings) {
    const std::string text = whole.substr(0, kMaxBreakerBytes);
    if (text.empty()) continue;
    for (int32_t id = 0; id < tokenizer.size(); ++id) {
      const std::string& piece = tokenizer.piece(id, true);
      if (piece.find(text) != std::string::npos) {
        out[id].push_back({});
        continue;
      }
      for (size_t n = std::min(piece.size(), text.size() - 1); n > 0; --n) {
        if (!piece.ends_with(std::string_view(text).substr(0, n))) continue;
        std::vector<int32_t> tail = tokenizer.encode(text.substr(n), {.add_special = false, .parse_special = false});
        tail.resize(std::min(tail.size(), kMaxTailTokens));
        out[id].push_back(std::move(tail));
      }
    }
  }
  return out;
}

void apply_penalties(const SamplingParams& p, std::span<const int32_t> history, std::span<float> logits) {
  if (p.repeat_last_n == 0 || (p.repeat_penalty == 1 && p.frequency_penalty == 0 && p.presence_penalty == 0)) return;
  std::unordered_map<int32_t, int> counts;
  for (const int32_t id : last(history, p.repeat_last_n)) ++counts[id];
  for (const auto& [id, n] : counts) {
    if (id < 0 || static_cast<size_t>(id) >= logits.size()) continue;
    double l = logits[static_cast<size_t>(id)];
    l = l <= 0 ? l * p.repeat_penalty : l / p.repeat_penalty;
    logits[static_cast<size_t>(id)] = static_cast<float>(l - n * p.frequency_penalty - p.presence_penalty);
  }
}

void apply_dry(const SamplingParams& p, const DryBreakers& breakers, std::span<const int32_t> history,
               std::span<float> logits) {
  if (p.dry_multiplier == 0 || p.dry_base < 1 || p.dry_penalty_last_n == 0) return;
  const auto window = last(history, p.dry_penalty_last_n);
  const auto allowed = static_cast<size_t>(std::max(p.dry_allowed_length, 0));
  if (window.size() <= allowed) return;
  const size_t limit = repetition_limit(breakers, window);
  if (limit < allowed) return;
  // In the reversed window, z[j] is how much of what precedes position n-1-j equals the end of the text.
  const std::vector<int32_t> reversed(window.rbegin(), window.rend());
  const std::vector<size_t> z = z_function(reversed);
  std::unordered_map<int32_t, size_t> longest;
  for (size_t j = 1; j < z.size(); ++j) {
    const size_t length = std::min(z[j], limit);
    if (length >= allowed) {
      size_t& best = longest[reversed[j - 1]];
      best = std::max(best, length);
    }
  }
  const double max_exponent = p.dry_base > 1.000001 ? std::floor(kLnFloatMax / std::log(p.dry_base)) : HUGE_VAL;
  for (const auto& [id, length] : longest) {
    if (stands_alone(breakers, id) || id < 0 || static_cast<size_t>(id) >= logits.size()) continue;
    const double exponent = std::min(static_cast<double>(length - allowed), max_exponent);
    logits[static_cast<size_t>(id)] -= static_cast<float>(p.dry_multiplier * std::pow(p.dry_base, exponent));
  }
}

}  // namespace stretto
