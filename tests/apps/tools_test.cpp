// bench, perplexity, doctor, flags that people type from habit, names of the hub cache.

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "apps/command.h"
#include "base/json.h"

namespace stretto::test {
namespace {

using Args = std::vector<std::string>;

Args bench(Args more) {
  Args all = {"bench", demo_model(), "-p", "8", "-n", "4", "-r", "2", "-t", "2"};
  all.insert(all.end(), more.begin(), more.end());
  return all;
}

TEST(Bench, MarkdownTable) {
  const auto r = stretto(bench({}));
  ASSERT_EQ(r.exit_code, 0) << r.err;
  EXPECT_EQ(r.out.find("| model"), 0U);
  EXPECT_NE(r.out.find("pp8"), std::string::npos);
  EXPECT_NE(r.out.find("tg4"), std::string::npos);
  EXPECT_NE(r.out.find("±"), std::string::npos);
  EXPECT_NE(r.out.find("\nbuild: "), std::string::npos);
}

TEST(Bench, JsonHasLlamaBenchsKeysAndMore) {
  const Json rows = parse_json(stretto(bench({"-o", "json", "-d", "0,16"})).out, "stdout");
  ASSERT_EQ(rows.size(), 4U);
  for (const char* key :
       {"build_commit", "build_number", "cpu_info",       "gpu_info",        "backends",         "model_filename",
        "model_type",   "model_size",   "model_n_params", "n_batch",         "n_ubatch",         "n_threads",
        "type_k",       "type_v",       "n_gpu_layers",   "flash_attn",      "n_prompt",         "n_gen",
        "n_depth",      "test_time",    "avg_ns",         "stddev_ns",       "avg_ts",           "stddev_ts",
        "samples_ns",   "samples_ts",   "median_ts",      "bytes_per_token", "kernels_per_token"})
    EXPECT_TRUE(rows[0].contains(key)) << key;
  EXPECT_EQ(rows[0].at("samples_ns").size(), 2U);
  EXPECT_EQ(rows[3].at("n_depth"), 16);
  EXPECT_GT(rows[3].at("bytes_per_token"), rows[1].at("bytes_per_token"));
}

TEST(Bench, CsvJsonlAndASecondFormat) {
  const auto csv = stretto(bench({"-o", "csv", "-oe", "jsonl", "-q"}));
  EXPECT_EQ(csv.out.find("model,size"), 0U);
  EXPECT_EQ(std::count(csv.out.begin(), csv.out.end(), '\n'), 3);
  const std::string first = csv.err.substr(0, csv.err.find('\n'));
  EXPECT_TRUE(parse_json(first, "stderr").contains("avg_ts")) << csv.err;
}

TEST(Bench, RangesAndPairs) {
  const auto r =
      stretto({"bench", demo_model(), "-p", "4-8+4", "-n", "0", "-pg", "4,2", "-r", "1", "-o", "json", "-t", "2"});
  const Json rows = parse_json(r.out, "stdout");
  ASSERT_EQ(rows.size(), 3U) << r.err;
  EXPECT_EQ(rows[1].at("n_prompt"), 8);
  EXPECT_EQ(rows[2].at("n_gen"), 2);
}

TEST(Bench, SweepShowsTheShare) {
  const auto r = stretto(bench({"--sweep", "-o", "json"}));
  const Json rows = parse_json(r.out, "stdout");
  EXPECT_GT(rows[1].at("roofline_gbps").get<double>(), 0.1);
  EXPECT_GT(rows[1].at("roofline_share").get<double>(), 0);
}

TEST(Bench, EndToEndRowsCarryTheTokensHash) {
  const Json rows = parse_json(stretto(bench({"--e2e", "-o", "json"})).out, "stdout");
  ASSERT_EQ(rows.size(), 3U);
  EXPECT_EQ(rows[2].at("e2e"), true);
  EXPECT_EQ(rows[2].at("greedy_token_sha256").get<std::string>().size(), 64U);
}

// Keys that only a GPU fills are there on every device, null where nothing is known.
TEST(Bench, JsonHasTheSameKeysOnEveryDevice) {
  const Json rows = parse_json(stretto(bench({"-o", "json"})).out, "stdout");
  for (const char* key : {"graph_launches_per_token", "host_gap_us_per_token", "peak_vram_bytes", "p99_itl_ms",
                          "ttft_ms", "clock_sm_mhz_min", "clock_sm_mhz_avg", "power_w_avg", "power_limit_w",
                          "temp_c_max", "greedy_token_sha256", "roofline_gbps", "roofline_share"})
    EXPECT_TRUE(rows[1].contains(key)) << key;
  EXPECT_TRUE(rows[0].at("ttft_ms").is_number());  // a prompt
  EXPECT_TRUE(rows[0].at("p99_itl_ms").is_null());
  EXPECT_TRUE(rows[1].at("ttft_ms").is_null());  // tokens
  EXPECT_TRUE(rows[1].at("p99_itl_ms").is_number());
}

TEST(Bench, LimitsOfTheDevice) {
  const auto table = stretto({"bench", "--limits", "-t", "2", "--device", "cpu"});
  ASSERT_EQ(table.exit_code, 0) << table.err;
  EXPECT_NE(table.out.find("read_sweep"), std::string::npos);
  EXPECT_NE(table.out.find("thread_barrier"), std::string::npos);
  const auto json = stretto({"bench", "--limits", "-t", "2", "--device", "cpu", "-o", "json"});
  const Json limits = parse_json(json.out, "stdout").at("limits");
  ASSERT_EQ(limits.size(), 3U);  // sweeps by 1 and 2 threads, a barrier of 2
  EXPECT_GT(limits[1].at("gbps").get<double>(), 0.1);
  EXPECT_GT(limits[2].at("us").get<double>(), 0);
  EXPECT_EQ(stretto({"bench", "--limits", demo_model()}).exit_code, 1);
  EXPECT_EQ(stretto({"bench", "--limits", "-o", "csv"}).exit_code, 1);
}

Args profile(Args more) {
  Args all = {"profile", demo_model(), "-t", "2", "--steps", "3", "-r", "2", "--device", "cpu"};
  all.insert(all.end(), more.begin(), more.end());
  return all;
}

TEST(Profile, Table) {
  const auto r = stretto(profile({"-d", "5"}));
  ASSERT_EQ(r.exit_code, 0) << r.err;
  for (const char* text : {"at depth 5", "method: ", "attn_qkv", "ffn_down", "head", "token (wall)", "read sweep",
                           "primitive ops: nothing fused"})
    EXPECT_NE(r.out.find(text), std::string::npos) << text;
}

TEST(Profile, JsonAddsUp) {
  const auto r = stretto(profile({"--json", "-q"}));
  ASSERT_EQ(r.exit_code, 0) << r.err;
  const Json p = parse_json(r.out, "stdout");
  double us = 0, flop_share = 0;
  uint64_t bytes = 0, ops = 0;
  for (const Json& role : p.at("roles")) {
    us += role.at("us").get<double>();
    flop_share += role.at("flop_share").get<double>();
    bytes += role.at("bytes").get<uint64_t>();
    ops += role.at("ops").get<uint64_t>();
  }
  EXPECT_NEAR(us, p.at("sum_of_roles_us").get<double>(), 1e-6);
  EXPECT_NEAR(flop_share, 1, 1e-9);
  EXPECT_EQ(bytes, p.at("bytes_per_token").get<uint64_t>());
  EXPECT_EQ(ops, p.at("launches").at("fused").at("launches").get<uint64_t>());
  EXPECT_GT(p.at("launches").at("unfused").at("launches").get<uint64_t>(), ops);
  EXPECT_GT(p.at("token_us").get<double>(), 0);
  // T = bytes / peak + phases * t
  const double fitted =
      p.at("floor_us").get<double>() + p.at("phases_per_token").get<double>() * p.at("us_per_phase").get<double>();
  EXPECT_NEAR(fitted, p.at("token_us").get<double>(), 1e-6 * fitted);
}

TEST(Profile, BadRequests) {
  EXPECT_EQ(stretto({"profile"}).exit_code, 1);
  for (const Args& bad : {Args{"-d", "-1"}, Args{"-d", "1x"}, Args{"-d", "99999999999"}, Args{"--steps", "1"},
                          Args{"--steps", "many"}, Args{"-r", "0"}, Args{"-d"}, Args{"--cache-type", "q4"}}) {
    const auto r = stretto(profile(bad));
    EXPECT_EQ(r.exit_code, 1) << bad[0];
    EXPECT_EQ(r.out, "");
  }
  const auto typo = stretto(profile({"--jsn"}));
  EXPECT_EQ(typo.exit_code, 1);
  EXPECT_NE(typo.err.find("did you mean --json?"), std::string::npos) << typo.err;
  EXPECT_EQ(stretto({"profile", "no-such-model.gguf"}).exit_code, 4);
  EXPECT_EQ(stretto({"profile", demo_model(), "--device", "oracle"}).exit_code, 6);
}

TEST(Bench, BadRequests) {
  EXPECT_EQ(stretto({"bench"}).exit_code, 1);
  EXPECT_EQ(stretto(bench({"-o", "xml"})).exit_code, 1);
  EXPECT_EQ(stretto({"bench", demo_model(), "-p", "x"}).exit_code, 1);
  EXPECT_EQ(stretto({"bench", demo_model(), "-p", "1-9*1"}).exit_code, 1);
  EXPECT_EQ(stretto({"bench", demo_model(), "-p", "0", "-n", "0"}).exit_code, 1);
}

// Two results that differ only in the given samples.
std::string result_file(const char* name, const std::string& samples, const std::string& model = "m") {
  const std::string path = temporary_file(name);
  write_file(path, "[{\"model_filename\": \"" + model +
                       "\", \"n_prompt\": 0, \"n_gen\": 4, \"n_depth\": 0, \"samples_ts\": " + samples + "}]");
  return path;
}

TEST(BenchCompare, VerdictsAndExitCodes) {
  const std::string base = result_file("a.json", "[100, 101, 99]"), same = result_file("b.json", "[100, 100, 99]");
  const std::string slow = result_file("c.json", "[80, 81, 82]"), other = result_file("d.json", "[100]", "n");
  EXPECT_EQ(stretto({"bench", "--compare", base, same}).exit_code, 0);
  const auto slower = stretto({"bench", "--compare", base, slow});
  EXPECT_EQ(slower.exit_code, 1);
  EXPECT_NE(slower.out.find("SLOWER"), std::string::npos);
  EXPECT_EQ(stretto({"bench", "--compare", slow, base}).exit_code, 0);
  const auto different = stretto({"bench", "--compare", base, other});
  EXPECT_EQ(different.exit_code, 2);
  EXPECT_NE(different.out.find("model_filename"), std::string::npos);
  EXPECT_EQ(stretto({"bench", "--compare", base, "/no/such"}).exit_code, 4);
  for (const std::string& p : {base, same, slow, other}) std::filesystem::remove(p);
}

std::string text_file() {
  const std::string path = temporary_file("text.txt");
  std::string text;
  for (int i = 0; i < 30; ++i) text += "Once upon a time there was a little girl named Lily. She had a red ball. ";
  write_file(path, text);
  return path;
}

TEST(Perplexity, OfAText) {
  const std::string text = text_file();
  const auto r = stretto({"perplexity", demo_model(), "-f", text, "-c", "64", "--json", "-t", "2"});
  ASSERT_EQ(r.exit_code, 0) << r.err;
  const Json j = parse_json(r.out, "stdout");
  EXPECT_GT(j.at("perplexity").get<double>(), 1);
  EXPECT_LT(j.at("perplexity").get<double>(), 30);
  EXPECT_EQ(j.at("tokens").get<int>() % 31, 0);
  EXPECT_EQ(stretto({"perplexity", demo_model()}).exit_code, 1);
  EXPECT_EQ(stretto({"perplexity", demo_model(), "-f", text, "-c", "100000"}).exit_code, 1);
  std::filesystem::remove(text);
}

TEST(Perplexity, AgainstABase) {
  const std::string text = text_file(), base = temporary_file("base.safetensors");
  const Args common = {"perplexity", demo_model(), "-f", text, "-c", "64", "--chunks", "2", "-t", "2"};
  Args save = common, same = common, other = common;
  save.insert(save.end(), {"--save-base", base});
  same.insert(same.end(), {"--kl-base", base, "--json"});
  other.insert(other.end(), {"--kl-base", base, "--json", "--device", "oracle"});
  ASSERT_EQ(stretto(save).exit_code, 0);
  const Json equal = parse_json(stretto(same).out, "stdout").at("divergence");
  EXPECT_NEAR(equal.at("mean_kl").get<double>(), 0, 1e-12);
  EXPECT_EQ(equal.at("same_top"), 1);
  const Json oracle = parse_json(stretto(other).out, "stdout").at("divergence");
  EXPECT_GT(oracle.at("mean_kl").get<double>(), 0);
  EXPECT_LT(oracle.at("mean_kl").get<double>(), 1e-2);
  Args window = same;
  window[5] = "32";
  EXPECT_EQ(stretto(window).exit_code, 1);
  std::filesystem::remove(text);
  std::filesystem::remove(base);
}

TEST(Doctor, SaysWhatIsHereAndWhy) {
  const Json j = parse_json(stretto({"doctor", "--json"}).out, "stdout");
  ASSERT_GE(j.at("findings").size(), 5U);
  EXPECT_EQ(j.at("findings")[0].at("what"), "cpu");
  for (const Json& f : j.at("findings")) EXPECT_FALSE(f.at("detail").get<std::string>().empty());
}

TEST(Flags, LlamaCppsFlagsRunWithARemark) {
  const auto r =
      stretto({"run",  "-m",  demo_model(), "-ngl", "99", "-fa",  "on", "-t", "2",      "--mlock", "--no-mmap",
               "-ctk", "f16", "-ctv",       "f16",  "-p", "Once", "-n", "3",  "--temp", "0"});
  EXPECT_EQ(r.exit_code, 0) << r.err;
  for (const char* flag :
       {"-ngl has no effect", "-fa has no effect", "--mlock has no effect", "--no-mmap has no effect"})
    EXPECT_NE(r.err.find(flag), std::string::npos) << flag;
  EXPECT_NE(r.err.find("cache F16"), std::string::npos) << r.err;
}

TEST(Flags, CachesOfEightBits) {
  for (const auto& [flag, type] : {std::pair("q8_0", "cache Q8_0"), std::pair("fp8", "cache F8_E4M3")}) {
    const auto r = stretto({"run", demo_model(), "-ctk", flag, "-ctv", flag, "-p", "Once", "-n", "3", "-t", "2"});
    EXPECT_EQ(r.exit_code, 0) << r.err;
    EXPECT_NE(r.err.find(type), std::string::npos) << r.err;
  }
  const auto mixed = stretto({"run", demo_model(), "-ctk", "q8_0", "-ctv", "f16", "-p", "Once", "-n", "3"});
  EXPECT_EQ(mixed.exit_code, 1);
  EXPECT_NE(mixed.err.find("--cache-type f16"), std::string::npos) << mixed.err;
}

TEST(Flags, SwitchesWithoutValueDoNotEatTheNextFlag) {
  const auto r = stretto({"run", demo_model(), "-fa", "-p", "Once", "-n", "3", "--temp", "0", "-t", "2"});
  EXPECT_EQ(r.exit_code, 0) << r.err;
}

TEST(Flags, TheNearestNameIsOffered) {
  const auto flag = stretto({"run", demo_model(), "--temprature", "0"});
  EXPECT_EQ(flag.exit_code, 1);
  EXPECT_NE(flag.err.find("did you mean --temperature?"), std::string::npos) << flag.err;
  const auto command = stretto({"benhc"});
  EXPECT_EQ(command.exit_code, 1);
  EXPECT_NE(command.err.find("did you mean bench?"), std::string::npos) << command.err;
}

TEST(Flags, APromptMayLookLikeAFlag) {
  const auto r = stretto({"run", demo_model(), "-p", "-ngl", "-n", "3", "--temp", "0", "-t", "2"});
  EXPECT_EQ(r.err.find("no effect"), std::string::npos) << r.err;
}

TEST(Flags, SamplingFlagsAreChecked) {
  EXPECT_EQ(stretto({"run", demo_model(), "-p", "a", "--repeat-penalty", "0"}).exit_code, 1);
  EXPECT_EQ(stretto({"run", demo_model(), "-p", "a", "--samplers", "top_k;nonsense"}).exit_code, 1);
  EXPECT_EQ(stretto({"run", demo_model(), "-p", "a", "--logit-bias", "x"}).exit_code, 1);
  EXPECT_EQ(stretto({"run", demo_model(), "-p", "a", "--mirostat", "7"}).exit_code, 1);
}

TEST(Flags, EverySamplerRuns) {
  const auto r = stretto({"run",
                          demo_model(),
                          "-p",
                          "Once upon a time",
                          "-n",
                          "20",
                          "--seed",
                          "3",
                          "-t",
                          "2",
                          "--temp",
                          "1.2",
                          "--top-k",
                          "50",
                          "--top-p",
                          "0.9",
                          "--min-p",
                          "0.02",
                          "--typical",
                          "0.95",
                          "--xtc-probability",
                          "0.5",
                          "--repeat-penalty",
                          "1.1",
                          "--dry-multiplier",
                          "0.8",
                          "--dynatemp-range",
                          "0.3",
                          "--top-nsigma",
                          "3"});
  EXPECT_EQ(r.exit_code, 0) << r.err;
  EXPECT_EQ(
      stretto({"run", demo_model(), "-p", "Once", "-n", "8", "--mirostat", "2", "--seed", "1", "-t", "2"}).exit_code,
      0);
}

TEST(Flags, LogitBiasSteers) {
  const Json a = parse_json(
      stretto({"run", demo_model(), "-p", "Once upon", "-n", "3", "--temp", "0", "--json", "-l", "300+1000"}).out,
      "out");
  for (const Json& id : a.at("tokens")) EXPECT_EQ(id, 300);
}

TEST(Flags, ModelDefaultsArePrintedOnce) {
  const auto r = stretto({"run", demo_model(), "-p", "Once", "-n", "3", "--seed", "1", "-t", "2"});
  const size_t at = r.err.find("sampling defaults of the model:");
  ASSERT_NE(at, std::string::npos) << r.err;
  EXPECT_EQ(r.err.find("sampling defaults", at + 1), std::string::npos);
}

// A hub cache with the demo model under two quantisations.
std::string hub() {
  const std::string root = temporary_file("hub");
  const std::filesystem::path snapshot = std::filesystem::path(root) / "models--acme--tiny" / "snapshots" / "abc";
  std::filesystem::create_directories(snapshot);
  std::filesystem::create_directories(std::filesystem::path(root) / "models--acme--tiny" / "refs");
  write_file((std::filesystem::path(root) / "models--acme--tiny" / "refs" / "main").string(), "abc");
  for (const char* name : {"tiny-Q8_0.gguf", "tiny-Q4_K_M.gguf"})
    std::filesystem::copy_file(demo_model(), snapshot / name, std::filesystem::copy_options::overwrite_existing);
  return root;
}

TEST(Hub, NamesOfTheLocalCache) {
  const std::string root = hub();
  CommandOptions o;
  o.env = {{"HF_HUB_CACHE", root}, {"LLAMA_CACHE", ""}};
  EXPECT_EQ(stretto({"inspect", "acme/tiny:Q8_0"}, o).exit_code, 0);
  EXPECT_EQ(stretto({"inspect", "-hf", "acme/tiny@main:tiny-Q8_0.gguf"}, o).exit_code, 0);
  const auto several = stretto({"inspect", "acme/tiny"}, o);
  EXPECT_EQ(several.exit_code, 1);
  EXPECT_NE(several.err.find("Q4_K_M"), std::string::npos) << several.err;
  const auto missing = stretto({"inspect", "acme/other"}, o);
  EXPECT_EQ(missing.exit_code, 4);
  EXPECT_NE(missing.err.find("hf download acme/other"), std::string::npos) << missing.err;
  std::filesystem::remove_all(root);
}

TEST(HuggingFaceTokenizer, WorksFromTheTokenizerFilesAlone) {
  const std::string dir = STRETTO_TEST_DATA "/tokjson/llama3";
  const auto r = stretto({"tokenize", dir, "-p", "Hello world", "--json", "--no-special"});
  ASSERT_EQ(r.exit_code, 0) << r.err;
  std::string ids;
  const Json j = parse_json(r.out, "stdout");
  for (const auto& id : j.at("tokens")) ids += std::to_string(id.get<int>()) + ",";
  EXPECT_EQ(stretto({"detokenize", dir, "--tokens", ids}).out, "Hello world");
}

}  // namespace
}  // namespace stretto::test
