// Every op case on the CPU backend: each instruction set of this machine against the float64 oracle, and the promise
// that neither the number of threads nor the size of the steps changes a single bit.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <map>

#include "cpu/cpu_backend.h"
#include "ops/attention_cases.h"
#include "ops/cases.h"
#include "ops/compare.h"
#include "oracle/oracle_backend.h"

namespace stretto::test {
namespace {

const std::vector<float>& oracle_result(const OpCase& c) {
  static std::map<std::string, std::vector<float>> results;
  const auto found = results.find(c.name);
  if (found != results.end()) return found->second;
  return results[c.name] = run_case(c, *make_oracle_backend());
}

class CpuOps : public testing::TestWithParam<std::string> {};

TEST_P(CpuOps, EveryCaseAgreesWithTheOracle) {
  const auto backend = make_cpu_backend({.n_threads = 2, .isa = GetParam()});
  for (const OpCase& c : op_cases()) {
    const double error = nmse(run_case(c, *backend), oracle_result(c));
    EXPECT_LE(error, c.limit) << c.name;
  }
}

TEST_P(CpuOps, ThreadsDoNotChangeABit) {
  const auto one = make_cpu_backend({.n_threads = 1, .isa = GetParam()});
  for (const OpCase& c : op_cases()) {
    const std::vector<float> expected = run_case(c, *one);
    for (const int n : {2, 5}) {
      const auto backend = make_cpu_backend({.n_threads = n, .isa = GetParam()});
      EXPECT_EQ(run_case(c, *backend), expected) << c.name << " on " << n << " threads";
    }
  }
}

TEST_P(CpuOps, StepSizesDoNotChangeABit) {
  const auto backend = make_cpu_backend({.n_threads = 1, .isa = GetParam()});
  for (const OpCase& c : op_cases())
    EXPECT_EQ(run_case(in_single_tokens(c), *backend), run_case(c, *backend)) << c.name;
}

TEST_P(CpuOps, EightBitCachesPointTheSameWay) {
  const auto backend = make_cpu_backend({.n_threads = 1, .isa = GetParam()});
  std::map<std::string, double> least;
  for (const CacheGate& gate : cache_gates()) {
    const double found = cosine(run_case(gate.rounded, *backend), run_case(gate.exact, *make_oracle_backend()));
    EXPECT_GE(found, CacheGate::kCosine) << gate.rounded.name;
    const std::string type(name(gate.rounded.program.tables.states.front().type));
    double& smallest = least.try_emplace(type, 1).first->second;
    smallest = std::min(smallest, found);
  }
  for (const auto& [type, smallest] : least) std::printf("%s: least cosine %.6f\n", type.c_str(), smallest);
}

TEST_P(CpuOps, PositionsCanBeWrittenAgain) {
  const auto backend = make_cpu_backend({.n_threads = 1, .isa = GetParam()});
  for (const CacheGate& gate : cache_gates())
    EXPECT_EQ(run_rewriting(gate.rounded, *backend), run_case(gate.rounded, *backend)) << gate.rounded.name;
}

INSTANTIATE_TEST_SUITE_P(Isa, CpuOps, testing::ValuesIn(cpu_isas()), [](const auto& info) {
  std::string name = info.param;
  for (char& c : name)
    if (c == '-') c = '_';
  return name;
});

TEST(OpCases, TheOracleResultsAreFiniteAndNotZero) {
  for (const OpCase& c : op_cases()) {
    const std::vector<float>& result = oracle_result(c);
    EXPECT_EQ(nmse(result, result), 0) << c.name;
    EXPECT_NE(result, std::vector<float>(result.size(), 0.0F)) << c.name;
  }
}

}  // namespace
}  // namespace stretto::test
