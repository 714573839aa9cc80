// Swap layers on the GPU against the definition's own run: decisions, the hooks, carried memory.
#include <gtest/gtest.h>

#include <algorithm>

#include "cuda/device.h"
#include "models/reference_models.h"
#include "ops/cases.h"
#include "ops/compare.h"
#include "oracle/oracle_backend.h"
#include "program/lower.h"

namespace stretto::test {
namespace {

constexpr float kNearTie = 1e-3F;
constexpr uint64_t kEvents = 8, kColumns = swap_trace_columns(kEvents);
constexpr double kBound = 1e-5, kLargeStepBound = 1e-2;  // of logits; large steps have rounded products

const ReferenceCase kCases[] = {{"hf/swap_ffn_hybrid"}, {"hf/swap_ffn_carried"}};

constexpr ModelOptions kExact{.kv_type = DType::kF32};

bool is_carried(const ReferenceCase& c) { return c.name.ends_with("carried"); }

TensorView view(const std::vector<float>& rows) {
  return {DType::kF32, Shape{rows.size() / kColumns, kColumns}, std::as_bytes(std::span(rows))};
}

// A backend that runs everything in primitive ops.
class InPieces : public Backend {
 public:
  std::string name() const override { return whole_->name(); }
  std::string description() const override { return whole_->description(); }
  uint64_t available_bytes() const override { return whole_->available_bytes(); }
  int thread_count() const override { return whole_->thread_count(); }
  std::unique_ptr<ReadSweep> make_read_sweep() const override { return whole_->make_read_sweep(); }
  Program lower(const Program& program) const override { return stretto::lower<PrimitiveOnly>(program); }
  std::unique_ptr<Executable> compile(const Program& program, const CompileOptions& options) const override {
    return whole_->compile(lower(program), options);
  }

 private:
  std::unique_ptr<Backend> whole_ = make_cuda_backend({});
};

TEST(CudaSwap, DecisionsAreThoseOfTheReference) {
  SKIP_WITHOUT_DEVICE();
  const auto backend = make_cuda_backend({});
  for (const ReferenceCase& c : kCases) {
    const Expected expected = read_expected(c);
    for (const uint64_t chunk : {1, 7, 0}) {
      const std::vector<float> trace = swap_recording(c, *backend, expected.tokens, chunk, kExact);
      ASSERT_EQ(trace.size(), expected.tokens.size() * kColumns);
      int n_equal = 0, n_ties = 0;
      float worst = 0;
      bool apart = false;  // behind a near tie a carried state may go its own way
      for (size_t t = 0; t < expected.tokens.size(); ++t) {
        const float* margins = &expected.decision_margin[t * (kEvents + 1)];
        const bool tie = *std::min_element(margins, margins + kEvents + 1) <= kNearTie;
        const bool equal = trace[t * kColumns + kColumns - 1] == static_cast<float>(expected.stream_map[t]);
        n_ties += tie;
        n_equal += equal;
        apart |= tie && !equal;
        EXPECT_TRUE(equal || tie || (is_carried(c) && apart)) << c.name << " chunk " << chunk << " position " << t;
        for (uint64_t e = 0; equal && !apart && e <= kEvents; ++e)
          worst = std::max(worst, std::abs(trace[t * kColumns + kEvents + 1 + e] - margins[e]));
      }
      std::printf("%-20s chunk %d: %d of %zu maps equal, %d near ties, margins within %.1e\n", c.name.c_str(),
                  static_cast<int>(chunk), n_equal, expected.tokens.size(), n_ties, static_cast<double>(worst));
      EXPECT_LE(worst, chunk == 0 ? kNearTie : 5e-5F) << c.name << " chunk " << chunk;
    }
  }
}

TEST(CudaSwap, LogitsUnderForcedDecisions) {
  SKIP_WITHOUT_DEVICE();
  const auto backend = make_cuda_backend({});
  const InPieces pieces;
  const auto oracle = make_oracle_backend();
  for (const ReferenceCase& c : kCases) {
    const Expected expected = read_expected(c);
    std::vector<float> trace = swap_recording(c, *oracle, expected.tokens, 0, kExact);
    // Another bank for the third event of position 5.
    float& decision = trace[5 * kColumns + 2];
    decision = static_cast<float>((static_cast<uint32_t>(decision) + (1U << kSwitches)) & 255);
    ModelOptions forced = kExact;
    forced.swap.forced = view(trace);
    const std::vector<float> logits = logits_of(c, *oracle, expected.tokens, 0, forced);
    for (const uint64_t chunk : {1, 7, 0}) {
      const double error = range_error(logits_of(c, *backend, expected.tokens, chunk, forced), logits);
      const double apart = range_error(logits_of(c, pieces, expected.tokens, chunk, forced), logits);
      std::printf("%-20s chunk %d: range error %.2e, in primitive ops %.2e\n", c.name.c_str(), static_cast<int>(chunk),
                  error, apart);
      EXPECT_LE(std::max(error, apart), chunk == 0 ? kLargeStepBound : kBound) << c.name << " chunk " << chunk;
    }
    const std::vector<float> followed = swap_recording(c, *backend, expected.tokens, 7, forced);
    for (size_t t = 0; t < expected.tokens.size(); ++t)
      for (uint64_t e = 0; e <= kEvents; ++e) EXPECT_EQ(followed[t * kColumns + e], trace[t * kColumns + e]);
  }
}

// Beside CudaOps for what only these ops have: tokens of sequential nodes in steps of every size, without a graph too.
TEST(CudaSwap, CasesAgreeWithTheOracleInEveryStepAndLaunch) {
  SKIP_WITHOUT_DEVICE();
  constexpr double kLargeStepLimit = 3e-5, kRounding = 1e-11;
  const auto backend = make_cuda_backend({}), plain = make_cuda_backend({.graph = false, .dependent_launch = false});
  int n_cases = 0;
  for (const OpCase& c : op_cases()) {
    if (!c.name.starts_with("swap_") && !c.name.starts_with("bank_") && !c.name.starts_with("state_")) continue;
    ++n_cases;
    const std::vector<float> expected = run_case(c, *make_oracle_backend());
    const std::vector<float> singles = run_case(in_single_tokens(c), *backend);
    EXPECT_LE(nmse(singles, expected), std::max(c.limit, kRounding)) << c.name;
    EXPECT_LE(nmse(run_case(c, *backend), expected), std::max(c.limit, kLargeStepLimit)) << c.name << " in steps";
    EXPECT_EQ(run_case(in_single_tokens(c), *plain), singles) << c.name << " without graph and early launch";
    for (const size_t n : {2, 8}) EXPECT_EQ(run_case(in_steps_of(c, n), *backend), singles) << c.name << " by " << n;
  }
  EXPECT_GT(n_cases, 15);
}

// A carried state belongs to its position: going back must give back what was there.
TEST(CudaSwap, RewindingGivesTheSameLogitsAgain) {
  SKIP_WITHOUT_DEVICE();
  for (const ReferenceCase& c : kCases) {
    const auto checkpoint = open_checkpoint(c.model_path());
    const Model model = load_model(*checkpoint, {.kv_type = DType::kF32});
    const CompileOptions limits{.n_ctx = 32, .max_tokens = 8, .max_outputs = 8};
    const auto executable = make_cuda_backend({})->compile(model.program, limits);
    Session session(*executable, limits);
    const std::vector<int32_t> first{5, 6, 7, 8, 9}, second{10, 11, 12, 13, 14, 15, 16, 17, 18};
    session.append(first);
    const auto run = [&] {
      const auto logits = session.append(second);
      return std::vector<float>(logits.begin(), logits.end());
    };
    const std::vector<float> once = run();
    session.rewind(first.size());
    EXPECT_EQ(run(), once) << c.name;
    session.rewind(0);
    session.append(first);
    EXPECT_EQ(run(), once) << c.name;
  }
}

// The chain of early starts must not depend on how it is launched.
TEST(CudaSwap, TheDeviceLoopHasTheSameTokensHoweverItIsLaunched) {
  SKIP_WITHOUT_DEVICE();
  constexpr uint64_t kTokens = 200;
  for (const ReferenceCase& c : kCases) {
    const auto checkpoint = open_checkpoint(c.model_path());
    const Model model = load_model(*checkpoint, {.kv_type = DType::kF16});
    const CompileOptions limits{.n_ctx = kTokens + 1, .max_tokens = 4, .max_outputs = 1};
    std::vector<int32_t> expected;
    for (const bool pdl : {false, true})
      for (const bool graph : {false, true}) {
        const auto executable =
            make_cuda_backend({.graph = graph, .dependent_launch = pdl})->compile(model.program, limits);
        std::vector<int32_t> got;
        EXPECT_TRUE(executable->start_greedy(1, 0));
        for (uint64_t i = 0; i < kTokens; ++i) got.push_back(executable->next_token());
        if (expected.empty()) expected = got;
        EXPECT_EQ(got, expected) << c.name << " graph " << graph << " dependent launch " << pdl;
      }
  }
}

}  // namespace
}  // namespace stretto::test
