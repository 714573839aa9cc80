// Swap layers against the definition's own run: decisions, not only logits, and the hooks that record and force them.

#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"
#include "cpu/cpu_backend.h"
#include "models/reference_models.h"
#include "oracle/oracle_backend.h"

namespace stretto::test {
namespace {

constexpr float kNearTie = 1e-3F;
constexpr uint64_t kEvents = 8, kColumns = swap_trace_columns(kEvents);

const ReferenceCase kCases[] = {{"hf/swap_ffn_hybrid"}, {"hf/swap_ffn_carried"}};

constexpr ModelOptions kExact{.kv_type = DType::kF32};

TensorView view(const std::vector<float>& rows) {
  return {DType::kF32, Shape{rows.size() / kColumns, kColumns}, std::as_bytes(std::span(rows))};
}

struct Agreement {
  int equal = 0, near_ties = 0;
};

// Maps are equal up to the first position with a near tie; there a carried state may go its own way.
Agreement compare_maps(const Expected& expected, const std::vector<float>& trace, bool carried) {
  Agreement a;
  bool apart = false;
  for (size_t t = 0; t < expected.tokens.size(); ++t) {
    const float* margins = &expected.decision_margin[t * (kEvents + 1)];
    const bool tie = *std::min_element(margins, margins + kEvents + 1) <= kNearTie;
    const bool equal = trace[t * kColumns + kColumns - 1] == static_cast<float>(expected.stream_map[t]);
    a.near_ties += tie;
    a.equal += equal;
    apart |= tie && !equal;
    EXPECT_TRUE(equal || tie || (carried && apart)) << "position " << t;
  }
  return a;
}

TEST(Swap, DecisionsAreThoseOfTheReference) {
  for (const ReferenceCase& c : kCases) {
    const Expected expected = read_expected(c);
    ASSERT_EQ(expected.decision_margin.size(), expected.tokens.size() * (kEvents + 1));
    for (const auto& backend : {make_oracle_backend(), make_cpu_backend({})}) {
      const bool oracle = backend->name() == "oracle";
      const std::vector<float> trace = swap_recording(c, *backend, expected.tokens, 0, kExact);
      ASSERT_EQ(trace.size(), expected.tokens.size() * kColumns);
      const Agreement a = compare_maps(expected, trace, c.name.ends_with("carried"));
      std::printf("%-20s %-7s %d of %zu maps equal, %d positions with a near tie\n", c.name.c_str(),
                  backend->name().c_str(), a.equal, expected.tokens.size(), a.near_ties);
      EXPECT_LT(a.near_ties, 8);
      for (size_t t = 0; t < expected.tokens.size(); ++t)
        for (uint64_t e = 0; e <= kEvents; ++e)
          EXPECT_NEAR(trace[t * kColumns + kEvents + 1 + e], expected.decision_margin[t * (kEvents + 1) + e],
                      oracle ? 2e-5 : 2e-4)
              << c.name << " " << backend->name() << " position " << t << " decision " << e;
    }
  }
}

TEST(Swap, ChunksDecideAsSingleTokensDo) {
  for (const ReferenceCase& c : kCases) {
    const Expected expected = read_expected(c);
    for (const auto& backend : {make_oracle_backend(), make_cpu_backend({.n_threads = 2, .isa = {}})}) {
      const std::vector<float> whole = swap_recording(c, *backend, expected.tokens, 0, kExact);
      for (const uint64_t chunk : {1, 7}) {
        const std::vector<float> parts = swap_recording(c, *backend, expected.tokens, chunk, kExact);
        for (size_t i = 0; i < whole.size(); ++i) {
          const uint64_t column = i % kColumns;
          const bool margin = column > kEvents && column + 1 < kColumns;
          EXPECT_NEAR(parts[i], whole[i], margin ? 1e-4 : 0) << c.name << " chunk " << chunk << " value " << i;
        }
      }
    }
  }
}

TEST(Swap, ForcedDecisionsReplaceOwnOnes) {
  const ReferenceCase& c = kCases[0];
  const Expected expected = read_expected(c);
  const auto oracle = make_oracle_backend(), cpu = make_cpu_backend({});
  std::vector<float> trace = swap_recording(c, *oracle, expected.tokens, 0, kExact);
  // Another bank for the third event of position 5, and no row for what lies behind position 40.
  float& decision = trace[5 * kColumns + 2];
  decision = static_cast<float>((static_cast<uint32_t>(decision) + (1U << kSwitches)) & 255);
  trace.resize(41 * kColumns);
  ModelOptions forced = kExact;
  forced.swap.forced = view(trace);
  const std::vector<float> a = swap_recording(c, *oracle, expected.tokens, 0, forced);
  const std::vector<float> b = swap_recording(c, *cpu, expected.tokens, 7, forced);
  for (size_t t = 0; t < 41; ++t)
    for (uint64_t e = 0; e <= kEvents; ++e) {
      EXPECT_EQ(a[t * kColumns + e], trace[t * kColumns + e]);
      EXPECT_EQ(b[t * kColumns + e], trace[t * kColumns + e]);
    }
  const std::vector<float> free = logits_of(c, *oracle, expected.tokens, 0, kExact);
  const std::vector<float> logits = logits_of(c, *oracle, expected.tokens, 0, forced);
  const size_t v = expected.vocab();
  EXPECT_TRUE(std::equal(logits.begin(), logits.begin() + static_cast<int64_t>(5 * v), free.begin()));
  EXPECT_FALSE(std::equal(logits.begin(), logits.begin() + static_cast<int64_t>(6 * v), free.begin()));
  EXPECT_LE(range_error(logits_of(c, *cpu, expected.tokens, 7, forced), logits), 1e-5);
}

TEST(Swap, RecordingsThatDoNotFitAreRefused) {
  const auto refused = [](const char* model, const SwapRecording& swap) {
    const auto checkpoint = open_checkpoint(ReferenceCase{model}.model_path());
    try {
      load_model(*checkpoint, {.swap = swap});
    } catch (const Error& e) {
      return e.kind() == ErrorKind::kBadArgument;
    }
    return false;
  };
  EXPECT_TRUE(refused("hf/swap_ffn_baseline", {.trace = true}));
  std::vector<float> rows(kColumns, 0.0F);
  EXPECT_FALSE(refused("hf/swap_ffn_hybrid", {.forced = view(rows)}));
  for (const float bad : {-1.0F, 4.0F * 64, NAN}) {
    rows[0] = bad;
    EXPECT_TRUE(refused("hf/swap_ffn_hybrid", {.forced = view(rows)})) << bad;
  }
  rows.assign(kColumns, 0.0F);
  rows[kEvents] = 4;
  EXPECT_TRUE(refused("hf/swap_ffn_hybrid", {.forced = view(rows)}));
}

// A carried state belongs to its position: going back must give back what was there.
TEST(Swap, RewindingACarriedStateGivesTheSameLogitsAgain) {
  const auto checkpoint = open_checkpoint(ReferenceCase{"hf/swap_ffn_carried"}.model_path());
  const Model model = load_model(*checkpoint, {.kv_type = DType::kF32});
  const CompileOptions limits{.n_ctx = 32, .max_tokens = 8, .max_outputs = 8};
  const auto executable = make_cpu_backend({})->compile(model.program, limits);
  Session session(*executable, limits);
  const std::vector<int32_t> first{5, 6, 7, 8, 9}, second{10, 11, 12, 13, 14, 15, 16, 17, 18};
  session.append(first);
  const auto run = [&] {
    const auto logits = session.append(second);
    return std::vector<float>(logits.begin(), logits.end());
  };
  const std::vector<float> once = run();
  session.rewind(first.size());
  EXPECT_EQ(run(), once);
  session.rewind(0);
  session.append(first);
  EXPECT_EQ(run(), once);
}

}  // namespace
}  // namespace stretto::test
