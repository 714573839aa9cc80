// Swap layers against the definition's own run: decisions, not only logits, and the hooks that record and force them.

#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <numeric>

#include "base/error.h"
#include "checkpoint/safetensors.h"
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

// The hybrid with its swap layer a second time, in place of the last layer, and with the given memory.
class TwoSwapLayers {
 public:
  explicit TwoSwapLayers(bool token_local)
      : folder_(std::filesystem::path(::testing::TempDir()) /
                ("stretto_two_swaps_" + std::to_string(getpid()) + (token_local ? "_local" : "_carried"))) {
    const auto hybrid = open_checkpoint(ReferenceCase{"hf/swap_ffn_hybrid"}.model_path());
    std::vector<SafetensorsEntry> tensors;
    const auto add = [&](const std::string& name, const TensorView& v) {
      tensors.push_back({name, v.type, v.shape, v.bytes});
    };
    for (const StoredTensor& t : hybrid->tensors()) {
      if (!t.name.starts_with("blocks.3.")) add(t.name, t.view);
      if (t.name.starts_with("blocks.1.")) add("blocks.3." + t.name.substr(9), t.view);
    }
    std::filesystem::create_directories(folder_);
    write_safetensors(folder_ / "model.safetensors", tensors);
    std::ofstream(folder_ / "config.json")
        << R"({"model_type": "swap_ffn", "d_model": 128, "n_layer": 4, "n_head": 8, "n_kv_head": 2, "d_ff": 256,
               "vocab_size": 512, "rms_eps": 1e-05, "rope_theta": 10000.0, "n_banks": 4, "n_events": 8, "k_ffn": 2,
               "swap_layers": [3, 1], "token_local": )"
        << (token_local ? "true}" : "false}");
  }
  ~TwoSwapLayers() {
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }
  TwoSwapLayers(const TwoSwapLayers&) = delete;
  TwoSwapLayers& operator=(const TwoSwapLayers&) = delete;

  // All rows of the result for `tokens`, in steps of `chunk`.
  std::vector<float> run(const Backend& backend, const std::vector<int32_t>& tokens, uint64_t chunk,
                         const ModelOptions& options) const {
    const auto checkpoint = open_checkpoint(folder_.string());
    const Model model = load_model(*checkpoint, options);
    const auto executable =
        backend.compile(model.program, {.n_ctx = tokens.size(), .max_tokens = chunk, .max_outputs = chunk});
    std::vector<int32_t> outputs(chunk);
    std::iota(outputs.begin(), outputs.end(), 0);
    std::vector<float> out;
    for (uint64_t done = 0; done < tokens.size(); done += chunk) {
      const uint64_t n = std::min<uint64_t>(chunk, tokens.size() - done);
      const auto rows = executable->run(
          {.tokens = std::span(tokens).subspan(done, n), .position = done, .outputs = std::span(outputs).first(n)});
      out.insert(out.end(), rows.begin(), rows.end());
    }
    return out;
  }

 private:
  std::filesystem::path folder_;
};

TEST(Swap, TwoLayersHaveColumnsOfTheirOwn) {
  std::vector<int32_t> tokens = read_expected(kCases[0]).tokens;
  tokens.resize(20);  // carried rows of several layers are exact below 2^52
  for (const bool token_local : {true, false}) {
    const TwoSwapLayers model(token_local);
    ModelOptions options = kExact;
    options.swap.trace = true;
    const auto oracle = make_oracle_backend(), cpu = make_cpu_backend({});
    const std::vector<float> trace = model.run(*oracle, tokens, 20, options);
    ASSERT_EQ(trace.size(), tokens.size() * 2 * kColumns);
    // The two layers see different vectors, so they do not decide alike everywhere.
    bool differ = false;
    for (size_t t = 0; t < tokens.size(); ++t) differ |= trace[2 * t * kColumns] != trace[(2 * t + 1) * kColumns];
    EXPECT_TRUE(differ);
    options = kExact;
    options.swap.forced = {DType::kF32, Shape{tokens.size(), 2 * kColumns}, std::as_bytes(std::span(trace))};
    const std::vector<float> expected = model.run(*oracle, tokens, 20, kExact);
    EXPECT_EQ(model.run(*oracle, tokens, 5, options), expected);
    for (const uint64_t chunk : {1, 5, 20})
      EXPECT_LE(range_error(model.run(*cpu, tokens, chunk, options), expected), 1e-5) << token_local << " " << chunk;
  }
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
