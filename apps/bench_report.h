// What bench prints: llama-bench's tables and a superset of its JSON.
#pragma once

#include <string>
#include <vector>

#include "base/json.h"
#include "engine/bench.h"

namespace stretto::app {

// What all rows of one run share.
struct BenchContext {
  std::string model_path, model_type;  // "qwen3 0.6B Q8_0"
  uint64_t model_bytes = 0, model_params = 0;
  std::string backend, device, kv_type;
  uint64_t n_batch = 0;
  int n_threads = 0;
  bool sweep = false;  // the read bandwidth was measured along with the tests
};

struct BenchRow {
  BenchSamples samples;
  uint64_t bytes_per_token = 0;  // weights and state of one generated token, at the middle of the test
  uint64_t kernels_per_token = 0;
  uint64_t peak_bytes = 0;
  std::string token_sha;  // hash of greedy tokens (--e2e), empty otherwise
  bool e2e = false;
};

std::string markdown_header(const BenchContext& c);
std::string markdown_row(const BenchContext& c, const BenchRow& r);
Json json_row(const BenchContext& c, const BenchRow& r);
std::string csv_header();
std::string csv_row(const BenchContext& c, const BenchRow& r);

// Share of the measured read bandwidth that generation reached; 0 when it cannot be said.
double roofline_share(const BenchRow& r);

// Ratios of two JSON results, row by row: text for people, and the exit code: 0 no regression, 1 slower, 2 not
// comparable (another device, model, depth, cache type or test).
std::string compare(const Json& before, const Json& after, double tolerance, int* exit_code);

}  // namespace stretto::app
