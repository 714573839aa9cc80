// Every op case on the GPU against the float64 oracle: token by token with the bounds of the case, in its own steps
// with those of bf16 products where a step is large enough for them.
#include <gtest/gtest.h>

#include <memory>
#include <span>
#include <vector>

#include "cuda/device.h"
#include "ops/cases.h"
#include "ops/compare.h"
#include "oracle/oracle_backend.h"

namespace stretto::test {
namespace {

// Weights and activations of large steps are rounded to bf16: 2^-9 of each factor, so a mean square of about 3e-6.
constexpr double kLargeStepLimit = 3e-5;
// Results of a head of 64 or 128 are exponentials by the hardware's exp2: 2 units in the last place.
constexpr double kRounding = 1e-11;

TEST(CudaOps, EveryCaseAgreesWithTheOracle) {
  SKIP_WITHOUT_DEVICE();
  const auto backend = make_cuda_backend({}), frugal = make_cuda_backend({.weight_copies = false});
  for (const OpCase& c : op_cases()) {
    const std::vector<float> expected = run_case(c, *make_oracle_backend());
    EXPECT_LE(nmse(run_case(in_single_tokens(c), *backend), expected), std::max(c.limit, kRounding)) << c.name;
    EXPECT_LE(nmse(run_case(c, *backend), expected), std::max(c.limit, kLargeStepLimit)) << c.name << " in steps";
    EXPECT_LE(nmse(run_case(c, *frugal), expected), std::max(c.limit, kLargeStepLimit))
        << c.name << " in steps, without copies of weights";
  }
}

// What a draft is verified with gives the tokens that would have been decoded.
TEST(CudaOps, TheBitsOfATokenDoNotDependOnHowManyShareItsStep) {
  SKIP_WITHOUT_DEVICE();
  const auto backend = make_cuda_backend({});
  for (const OpCase& c : op_cases()) {
    const std::vector<float> expected = run_case(in_single_tokens(c), *backend);
    for (const size_t n : {2, 3, 4, 7, 8}) EXPECT_EQ(run_case(in_steps_of(c, n), *backend), expected) << c.name << n;
  }
}

TEST(CudaOps, NeitherGraphNorDependentLaunchChangesABit) {
  SKIP_WITHOUT_DEVICE();
  struct Way {
    bool graph, pdl;
    std::unique_ptr<Backend> backend;
  };
  std::vector<Way> ways;
  for (const bool graph : {true, false})
    for (const bool pdl : {true, false})
      ways.push_back({graph, pdl, make_cuda_backend({.graph = graph, .dependent_launch = pdl})});
  for (const OpCase& c : op_cases()) {
    const OpCase single = in_single_tokens(c);
    const std::vector<float> expected = run_case(single, *ways.front().backend);
    for (const Way& way : std::span(ways).subspan(1))
      EXPECT_EQ(run_case(single, *way.backend), expected)
          << c.name << " graph " << way.graph << " dependent launch " << way.pdl;
  }
}

}  // namespace
}  // namespace stretto::test
