// The measurements of `stretto bench`: prompt processing and token generation at a depth, as llama-bench defines them
// (random tokens; tokenising, sampling and detokenising are not timed).
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "engine/session.h"

namespace stretto {

struct BenchTest {
  uint64_t n_prompt = 0;     // tokens appended in chunks
  uint64_t n_gen = 0;        // then tokens one by one
  uint64_t n_depth = 0;      // tokens already in the context, not timed
  std::string name() const;  // "pp512", "tg128", "pp512+tg128", "pp512 @ d4096"
};

struct BenchSamples {
  BenchTest test;
  std::vector<uint64_t> ns{};  // one per repetition, the warm-up left out
  // Per repetition the mean of the passes right before and after it; empty without a sweep.
  std::vector<double> sweep_gbps{};
  // Times between generated tokens, all repetitions together.
  std::vector<uint64_t> token_gaps_ns{};
  // Per repetition, until the first token after the prompt was known; empty without a prompt.
  std::vector<uint64_t> first_token_ns{};
  // Of the first repetition, where the backend chose the tokens greedily by itself; random tokens are not kept.
  std::vector<int32_t> greedy_tokens{};
  DeviceState device{};  // while the repetitions ran, with BenchOptions::watch
  double average_ns() const;
  double stddev_ns() const;  // of the sample, 0 for one
  std::vector<double> tokens_per_second() const;
  double average_ts() const;
  double stddev_ts() const;
  double median_ts() const;
  std::optional<double> p99_gap_ms() const;      // between tokens; nothing where none were generated
  std::optional<double> first_token_ms() const;  // median; nothing without a prompt
  double median_sweep_gbps() const;              // 0 without a sweep
  // Median over the repetitions of (tokens/s * bytes_per_token) / sweep rate; 0 without a sweep.
  double sweep_share(uint64_t bytes_per_token) const;
};

struct BenchOptions {
  int repetitions = 5;
  bool warmup = true;
  uint64_t chunk = 0;
  uint64_t seed = 1;             // of the random tokens
  ReadSweep* sweep = nullptr;    // a pass before and after every repetition
  DeviceWatch* watch = nullptr;  // looks at the device while a repetition runs
  // Called before every repetition; false ends the measurement early (what was measured stays).
  std::function<bool(const BenchTest&, int repetition)> proceed;
};

BenchSamples run_bench(Session& session, const BenchTest& test, const BenchOptions& options);

}  // namespace stretto
