// Runs a case on a backend and measures results.
#pragma once

#include <vector>

#include "ops/case_builder.h"

namespace stretto::test {

// What the steps of a case need.
CompileOptions options_of(const OpCase& c);

// The results of all steps, one after the other.
std::vector<float> run_case(const OpCase& c, const Backend& backend);

// The same where every step is taken twice, first with other tokens, so that its positions are written over.
std::vector<float> run_rewriting(const OpCase& c, const Backend& backend);

// The same tokens in steps of up to n tokens each.
OpCase in_steps_of(const OpCase& c, size_t n);
inline OpCase in_single_tokens(const OpCase& c) { return in_steps_of(c, 1); }

// sum (x - reference)^2 / sum reference^2; infinite when anything is not finite.
double nmse(const std::vector<float>& x, const std::vector<float>& reference);

// x . reference / (|x| |reference|)
double cosine(const std::vector<float>& x, const std::vector<float>& reference);

}  // namespace stretto::test
