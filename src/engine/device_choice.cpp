// The part of the sampling chain that a device runs by itself, and what stays here.
#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "base/probability_weight.h"
#include "engine/sampler.h"

namespace stretto {
namespace {

// Within these a division of float logits neither overflows nor makes different ones equal.
constexpr double kLowestTemperature = 1e-6, kHighestTemperature = 1e6;

bool in_order(const SamplingParams& p, std::string_view name) {
  return std::find(p.order.begin(), p.order.end(), name) != p.order.end();
}

bool penalises(const SamplingParams& p) {
  return in_order(p, "penalties") && p.repeat_last_n != 0 &&
         (p.repeat_penalty != 1 || p.frequency_penalty != 0 || p.presence_penalty != 0);
}

// Why the chain of these parameters is not one for a device, or "".
std::string obstacle(const SamplingParams& p) {
  if (p.mirostat != 0) return "mirostat";
  if (in_order(p, "dry") && p.dry_multiplier != 0) return "DRY";
  if (std::count(p.order.begin(), p.order.end(), "penalties") > 1) return "penalties applied more than once";
  if (p.temperature <= 0) return "";
  if (in_order(p, "top_n_sigma") && p.top_n_sigma > 0) return "top-n-sigma";
  if (in_order(p, "typ_p") && p.typical_p < 1) return "typical";
  if (in_order(p, "xtc") && p.xtc_probability > 0 && p.xtc_threshold <= 0.5) return "XTC";
  if (in_order(p, "temperature") && p.dynatemp_range > 0) return "dynamic temperature";
  if (p.min_keep > 1) return "min-keep";
  if (p.temperature < kLowestTemperature || p.temperature > kHighestTemperature) return "an extreme temperature";
  for (const std::string& name : p.order)
    if (std::count(p.order.begin(), p.order.end(), name) > 1) return "a step that is named twice";
  return "";
}

}  // namespace

std::string Sampler::device_choice(TokenChoice& choice) const {
  const SamplingParams& p = params_;
  if (std::string reason = obstacle(p); !reason.empty()) return reason;
  choice = {};
  choice.bias = bias_;
  if (penalises(p)) {
    choice.window = p.repeat_last_n;
    choice.repeat_penalty = p.repeat_penalty;
    choice.frequency_penalty = p.frequency_penalty;
    choice.presence_penalty = p.presence_penalty;
    choice.history = history_;
  }
  if (p.temperature <= 0) return "";
  choice.random = &random_;
  const auto add = [&](ChoiceStep kind, double value) {
    CHECK(choice.n_steps < TokenChoice::kMaxSteps);
    choice.steps[choice.n_steps++] = {kind, value};
  };
  for (const std::string& name : p.order) {
    if (name == "top_k" && p.top_k > 0) add(ChoiceStep::kTopK, p.top_k);
    if (name == "top_p" && p.top_p < 1) add(ChoiceStep::kTopP, p.top_p);
    if (name == "min_p" && p.min_p > 0) add(ChoiceStep::kMinP, std::log(p.min_p));
    if (name == "temperature") add(ChoiceStep::kTemperature, p.temperature);
  }
  return "";
}

void Sampler::skip_draw() {
  if (params_.temperature > 0) random_.discard(1);
}

}  // namespace stretto
