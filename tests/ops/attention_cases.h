// The cases of the attention ops, for every type of cache.
#pragma once

#include "ops/case_builder.h"

namespace stretto::test {

// Inverse frequencies 10000^(-i / n_pairs).
std::shared_ptr<RopeTable> rope_table(uint64_t n_pairs, double temperature_beta = 0);

std::vector<OpCase> attention_cases();

// The same inputs over an F32 cache and over an 8-bit one, whose results must point the same way.
struct CacheGate {
  OpCase exact, rounded;
  static constexpr double kCosine = 0.999;
};
std::vector<CacheGate> cache_gates();

}  // namespace stretto::test
