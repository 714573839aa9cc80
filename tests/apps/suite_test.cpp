// bench --suite swap-ffn on the CPU: which rows there are, what they hold, what is refused.

#include <gtest/gtest.h>

#include <cmath>

#include "apps/command.h"
#include "base/json.h"

namespace stretto::test {
namespace {

using Args = std::vector<std::string>;

Args suite(const Args& more) {
  Args all = {"bench", "--suite", "swap-ffn", "-p", "12", "-n", "4", "-r", "1", "-t", "2", "--device", "cpu", "-q"};
  all.insert(all.end(), more.begin(), more.end());
  return all;
}

TEST(SwapSuite, RandomWeightsGiveEveryRow) {
  const auto r = stretto(suite({"--suite-shape", "small", "-o", "json", "-oe", "md"}));
  ASSERT_EQ(r.exit_code, 0) << r.err;
  const Json report = parse_json(r.out, "stdout");
  EXPECT_EQ(report.at("random_weights"), true);
  const Json& rows = report.at("rows");
  ASSERT_EQ(rows.size(), 12U);  // baseline, token-local and carried, four variants each
  int n_measured = 0;
  for (const Json& row : rows) {
    if (row.contains("problem")) {
      EXPECT_EQ(row.at("problem").get<std::string>().find("--device cpu"), 0U);
      continue;
    }
    ++n_measured;
    EXPECT_GT(row.at("tokens_per_second").get<double>(), 0);
    EXPECT_GT(row.at("prefill_ms").get<double>(), 0);
    EXPECT_EQ(row.at("n_prompt"), 12);
    EXPECT_EQ(row.at("n_gen"), 4);
    EXPECT_EQ(row.at("n_runs"), 1);
    EXPECT_NEAR(row.at("avg_logprob").get<double>(), -std::log(256.0), 1);
    EXPECT_GT(row.at("kernels_per_token"), 0);
  }
  EXPECT_EQ(n_measured, 6);
  // Fusing changes neither memory's predictions.
  for (const size_t first : {0, 4, 8})
    EXPECT_NEAR(rows[first].at("avg_logprob").get<double>(), rows[first + 1].at("avg_logprob").get<double>(), 1e-3);
  EXPECT_GT(rows[4].at("kernels_per_token"), rows[5].at("kernels_per_token"));
  EXPECT_FALSE(report.at("roofline").at("roles").empty());
  for (const char* text :
       {"random bf16 weights", "| hybrid1", "carried", "| swap_event", "memory %", "n/a: persistent: --device"})
    EXPECT_NE(r.err.find(text), std::string::npos) << text << "\n" << r.err;
}

TEST(SwapSuite, ModelsOfFilesInBothMemories) {
  const std::string models = reference_model("hf/swap_ffn_baseline") + "," + reference_model("hf/swap_ffn_hybrid");
  const auto r = stretto(suite({"-m", models, "--suite-tokens", "5,6,7,8,9,10,11,12,13,14", "-o", "json"}));
  ASSERT_EQ(r.exit_code, 0) << r.err;
  const Json report = parse_json(r.out, "stdout");
  EXPECT_EQ(report.at("random_weights"), false);
  EXPECT_EQ(report.at("random_prompt"), false);
  ASSERT_EQ(report.at("rows").size(), 12U);
  EXPECT_EQ(report.at("rows")[0].at("model"), "swap_ffn_baseline");
  EXPECT_EQ(report.at("rows")[4].at("memory"), "token-local");
  EXPECT_EQ(report.at("rows")[8].at("memory"), "carried");
  EXPECT_NE(report.at("rows")[5].at("avg_logprob"), report.at("rows")[9].at("avg_logprob"));
}

// Rows that would take longer than they may measure less, and say with what.
TEST(SwapSuite, ARowHasAnEnd) {
  const auto r = stretto(
      {"bench",    "--suite", "swap-ffn", "--suite-shape",   "small", "-p", "64",   "-n",  "16", "-r", "3", "-t", "2",
       "--device", "cpu",     "-q",       "--suite-seconds", "1e-6",  "-o", "json", "-oe", "md"});
  ASSERT_EQ(r.exit_code, 0) << r.err;
  const Json report = parse_json(r.out, "stdout");
  EXPECT_EQ(report.at("row_seconds"), 1e-6);
  for (const Json& row : report.at("rows")) {
    if (row.contains("problem")) continue;
    EXPECT_EQ(row.at("n_prompt"), 16);
    EXPECT_EQ(row.at("n_gen"), 8);
    EXPECT_EQ(row.at("n_runs"), 1);
  }
  for (const char* text : {"at most 1e-06 s a row", "| prompt |"})
    EXPECT_NE(r.err.find(text), std::string::npos) << text << "\n" << r.err;
}

TEST(SwapSuite, BadRequests) {
  EXPECT_EQ(stretto({"bench", "--suite", "other"}).exit_code, 1);
  EXPECT_EQ(stretto(suite({"-o", "csv"})).exit_code, 1);
  EXPECT_EQ(stretto(suite({"--suite-shape", "huge"})).exit_code, 1);
  EXPECT_EQ(stretto(suite({"--suite-shape", "small", "--suite-seconds", "0"})).exit_code, 1);
  EXPECT_EQ(stretto(suite({"--suite-shape", "small", "--suite-tokens", "7"})).exit_code, 1);
  EXPECT_NE(stretto(suite({"-m", "/nowhere/at/all"})).exit_code, 0);
}

}  // namespace
}  // namespace stretto::test
