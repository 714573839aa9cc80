#include "ops/compare.h"

#include <algorithm>
#include <cmath>

namespace stretto::test {

CompileOptions options_of(const OpCase& c) {
  CompileOptions options;
  options.n_ctx = c.n_ctx;
  options.max_tokens = 1;
  for (const CaseStep& s : c.steps) options.max_tokens = std::max<uint64_t>(options.max_tokens, s.tokens.size());
  options.max_outputs = options.max_tokens;
  return options;
}

std::vector<float> run_case(const OpCase& c, const Backend& backend) {
  const auto executable = backend.compile(c.program, options_of(c));
  std::vector<float> out;
  for (const CaseStep& s : c.steps) {
    const auto result = executable->run({.tokens = s.tokens, .position = s.position, .outputs = s.outputs});
    out.insert(out.end(), result.begin(), result.end());
  }
  return out;
}

std::vector<float> run_rewriting(const OpCase& c, const Backend& backend) {
  const auto executable = backend.compile(c.program, options_of(c));
  std::vector<float> out;
  for (const CaseStep& s : c.steps) {
    std::vector<int32_t> others(s.tokens.rbegin(), s.tokens.rend());
    for (int32_t& token : others) token = (token + 5) % static_cast<int32_t>(CaseBuilder::kVocab);
    executable->run({.tokens = others, .position = s.position, .outputs = s.outputs});
    const auto result = executable->run({.tokens = s.tokens, .position = s.position, .outputs = s.outputs});
    out.insert(out.end(), result.begin(), result.end());
  }
  return out;
}

OpCase in_steps_of(const OpCase& c, size_t n) {
  OpCase out = c;
  out.steps.clear();
  for (const CaseStep& s : c.steps) {
    for (size_t t = 0; t < s.tokens.size(); t += n) {
      const size_t end = std::min(t + n, s.tokens.size());
      CaseStep step{.tokens = {}, .position = s.position + t, .outputs = {}};
      for (size_t i = t; i < end; ++i) {
        step.tokens.push_back(s.tokens[i]);
        step.outputs.push_back(static_cast<int32_t>(i - t));
      }
      out.steps.push_back(step);
    }
  }
  return out;
}

double nmse(const std::vector<float>& x, const std::vector<float>& reference) {
  if (x.size() != reference.size()) return INFINITY;
  double error = 0, size = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    if (!std::isfinite(x[i]) || !std::isfinite(reference[i])) return INFINITY;
    const double e = static_cast<double>(x[i]) - reference[i];
    error += e * e;
    size += static_cast<double>(reference[i]) * reference[i];
  }
  return error == 0 ? 0 : error / size;
}

double cosine(const std::vector<float>& x, const std::vector<float>& reference) {
  if (x.size() != reference.size()) return 0;
  double product = 0, xx = 0, rr = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    product += static_cast<double>(x[i]) * reference[i];
    xx += static_cast<double>(x[i]) * x[i];
    rr += static_cast<double>(reference[i]) * reference[i];
  }
  return product / std::sqrt(xx * rr);
}

}  // namespace stretto::test
