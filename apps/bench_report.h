// What bench prints: llama-bench's tables and a superset of its JSON.
#pragma once

#include <optional>
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
  uint64_t peak_bytes = 0;  // of the arenas
  uint64_t graph_launches_per_token = 0;
  uint64_t peak_vram_bytes = 0;                         // 0: the backend has no memory of its own
  std::optional<double> host_gap_us = std::nullopt;     // of a token's time that the device waits for the host
  std::optional<double> first_token_ms = std::nullopt;  // from the prompt to the first token
  std::string token_sha;  // SHA-256 of the greedy tokens as 32-bit words, empty where none were chosen
  bool e2e = false;
};

std::string markdown_header(const BenchContext& c);
std::string markdown_row(const BenchContext& c, const BenchRow& r);
Json json_row(const BenchContext& c, const BenchRow& r);
std::string csv_header();
std::string csv_row(const BenchContext& c, const BenchRow& r);

// SHA-256 of ids as 32-bit little-endian words, hexadecimal; empty for none.
std::string token_fingerprint(const std::vector<int32_t>& tokens);

// The ceilings of a device as a table, and as JSON.
std::string limits_table(const std::string& device, const std::vector<DeviceLimit>& limits);
Json limits_json(const std::string& backend, const std::string& device, const std::vector<DeviceLimit>& limits);

// Share of the measured read bandwidth that generation reached; 0 when it cannot be said.
double roofline_share(const BenchRow& r);

// Ratios of two JSON results, row by row: text for people, and the exit code: 0 no regression, 1 slower, 2 not
// comparable (another device, model, depth, cache type or test).
std::string compare(const Json& before, const Json& after, double tolerance, int* exit_code);

}  // namespace stretto::app
