// The small swap-FFN models that the repository carries, against PyTorch on the same dequantised weights
// (tools/train/check_swap_gguf.py): tokens, log-probability of a text, greedy text, decisions.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <numeric>

#include "cpu/cpu_backend.h"
#include "engine/engine.h"
#include "engine/perplexity.h"
#include "oracle/oracle_backend.h"

namespace stretto {
namespace {

using nlohmann::json;

const std::filesystem::path kModels = std::filesystem::path(STRETTO_SOURCE_DIR) / "models";
constexpr uint64_t kMaxBytes = 8 << 20;
constexpr float kNearTie = 1e-3F;
// The CPU multiplies Q5_0 rows with activations rounded to 8 bits, and near ties then go either way: so much for the
// mean log-probability, and for a gap between the two best logits that cannot change sides.
constexpr double kCpuLogprob = 0.01, kCpuGap = 0.25;

json expectations() {
  std::ifstream in(kModels / "swap-small.expected.json");
  return json::parse(in);
}

Engine open_engine(const Checkpoint& checkpoint, const Backend& backend, bool swap_trace = false) {
  const EngineLog silent{.line = [](const std::string&) {}, .progress = [](std::string_view, uint64_t, uint64_t) {}};
  return Engine(checkpoint, backend,
                {.n_ctx = 256, .max_tokens = 64, .max_outputs = 64, .kv_type = DType::kF32, .swap_trace = swap_trace},
                silent);
}

double avg_logprob(Engine& engine, const std::vector<int32_t>& ids) {
  Session session = engine.make_session();
  const uint64_t vocab = session.vocab_size();
  double sum = 0;
  session.append_all_logits(ids, 64, [&](uint64_t first, std::span<const float> rows) {
    for (uint64_t r = 0; r < rows.size() / vocab && first + r + 1 < ids.size(); ++r) {
      const auto row = rows.subspan(r * vocab, vocab);
      sum += static_cast<double>(row[static_cast<size_t>(ids[first + r + 1])]) - log_sum_exp(row);
    }
  });
  return sum / static_cast<double>(ids.size() - 1);
}

// Equal tokens up to the first step whose gap a backend may turn over; returns how many were compared.
size_t compare_greedy(Engine& engine, const json& prompt, double gap) {
  Session session = engine.make_session();
  const auto wanted = prompt.at("greedy").get<std::vector<int32_t>>();
  const auto gaps = prompt.at("gaps").get<std::vector<double>>();
  std::span<const float> logits = session.append(prompt.at("ids").get<std::vector<int32_t>>());
  for (size_t i = 0; i < wanted.size(); ++i) {
    if (gaps[i] < gap) return i;
    const auto best = static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
    EXPECT_EQ(best, wanted[i]) << prompt.at("text") << " step " << i;
    if (best != wanted[i]) return i;
    logits = session.append(std::span(&wanted[i], 1));
  }
  return wanted.size();
}

std::vector<float> trace_of(Engine& engine, const std::vector<int32_t>& ids) {
  std::vector<int32_t> outputs(64);
  std::iota(outputs.begin(), outputs.end(), 0);
  std::vector<float> out;
  for (uint64_t done = 0; done < ids.size(); done += 64) {
    const uint64_t n = std::min<uint64_t>(64, ids.size() - done);
    const auto rows = engine.executable().run(
        {.tokens = std::span(ids).subspan(done, n), .position = done, .outputs = std::span(outputs).first(n)});
    out.insert(out.end(), rows.begin(), rows.end());
  }
  return out;
}

TEST(SwapModels, FilesAreSmallAndReadTheirText) {
  const json expected = expectations();
  ASSERT_EQ(expected.at("models").size(), 2U);
  for (const json& m : expected.at("models")) {
    const std::filesystem::path path = kModels / m.at("file").get<std::string>();
    EXPECT_LE(std::filesystem::file_size(path), kMaxBytes) << path;
    const auto checkpoint = open_checkpoint(path.string(), {.metadata_only = true});
    const auto tokenizer = make_tokenizer(checkpoint->metadata());
    EXPECT_TRUE(tokenizer->warnings().empty());
    EXPECT_EQ(tokenizer->encode(expected.at("text").get<std::string>()), m.at("ids").get<std::vector<int32_t>>());
    for (const json& p : m.at("prompts")) {
      EXPECT_EQ(tokenizer->encode(p.at("text").get<std::string>()), p.at("ids").get<std::vector<int32_t>>());
      EXPECT_EQ(tokenizer->decode(p.at("greedy").get<std::vector<int32_t>>(), true), p.at("greedy_text"));
    }
  }
}

TEST(SwapModels, PredictAndContinueAsPyTorchDoes) {
  const json expected = expectations();
  for (const auto& backend : {make_oracle_backend(), make_cpu_backend({})}) {
    const bool exact = backend->name() == "oracle";
    for (const json& m : expected.at("models")) {
      const std::string file = m.at("file");
      SCOPED_TRACE(file + " " + std::string(backend->name()));
      const auto checkpoint = open_checkpoint((kModels / file).string());
      Engine engine = open_engine(*checkpoint, *backend);
      const double logprob = avg_logprob(engine, m.at("ids").get<std::vector<int32_t>>());
      const double wanted = m.at("avg_logprob");
      EXPECT_NEAR(logprob, wanted, exact ? 1e-5 : kCpuLogprob);
      size_t compared = 0;
      // The oracle takes 0.1 s a token, ten times that under a sanitizer: one prompt.
      const size_t n_prompts = exact ? 1 : m.at("prompts").size();
      for (size_t i = 0; i < n_prompts; ++i)
        compared += compare_greedy(engine, m.at("prompts")[i], exact ? kNearTie : kCpuGap);
      EXPECT_GE(compared, exact ? 24U : 6U);
      std::printf("%-25s %-7s avg_logprob %.5f, PyTorch %.5f; %zu greedy tokens compared\n", file.c_str(),
                  std::string(backend->name()).c_str(), logprob, wanted, compared);
    }
  }
}

TEST(SwapModels, DecideAsPyTorchDoes) {
  const json expected = expectations();
  const json& m = expected.at("models").back();
  auto ids = m.at("ids").get<std::vector<int32_t>>();
  ids.resize(96);
  const auto decisions = m.at("decisions").get<std::vector<std::vector<float>>>();
  const auto margins = m.at("margins").get<std::vector<std::vector<float>>>();
  const auto maps = m.at("maps").get<std::vector<float>>();
  const auto checkpoint = open_checkpoint((kModels / m.at("file").get<std::string>()).string());
  const auto oracle = make_oracle_backend();
  Engine engine = open_engine(*checkpoint, *oracle, true);
  const std::vector<float> trace = trace_of(engine, ids);
  const size_t n = decisions.front().size(), columns = 2 * n + 1;
  ASSERT_EQ(trace.size(), ids.size() * columns);
  size_t ties = 0, equal = 0;
  for (size_t t = 0; t < ids.size(); ++t) {
    const float* row = &trace[t * columns];
    const bool tie = *std::min_element(margins[t].begin(), margins[t].end()) < kNearTie;
    const bool same = std::equal(decisions[t].begin(), decisions[t].end(), row) && row[columns - 1] == maps[t];
    EXPECT_TRUE(same || tie) << "position " << t;
    ties += tie;
    equal += same;
  }
  std::printf("decisions of %zu of %zu positions equal, %zu with a near tie\n", equal, ids.size(), ties);
  EXPECT_LT(ties, ids.size() / 4);
}

}  // namespace
}  // namespace stretto
