// What the swap-FFN suite prints: a table, the roofline of one token by role, and the same as JSON.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "backend/instruments.h"
#include "base/json.h"
#include "program/program.h"

namespace stretto::app {

struct SwapSuiteRow {
  std::string model, memory, variant;
  std::string problem;               // why there are no figures; empty: there are
  uint64_t n_prompt = 0, n_gen = 0;  // what it measured with
  int n_runs = 0;
  double prefill_ms = 0, tokens_per_second = 0, avg_logprob = 0;
  uint64_t kernels = 0, launches = 0;  // per token: kernels or ops, and what the host launches
};

struct RooflineLine {
  RoleTime time;
  uint64_t bytes = 0, flops = 0;  // of the role's ops: weights and state
};

struct SwapRoofline {
  std::string model;
  double gbps = 0, tflops = 0;  // the two ceilings; 0: unknown
  double token_us = 0;
  std::vector<RooflineLine> lines;
};
std::vector<RooflineLine> roofline_lines(const Profile& profile, const Program& program, const StepShape& step);

struct SwapSuiteReport {
  std::string backend, device;
  bool random_weights = false, random_prompt = false;
  uint64_t n_prompt = 0, n_gen = 0;  // asked for
  double row_seconds = 0;            // the most that a row may take
  std::vector<SwapSuiteRow> rows;
  std::optional<SwapRoofline> roofline = std::nullopt;
};
std::string suite_text(const SwapSuiteReport& report);
Json suite_json(const SwapSuiteReport& report);

}  // namespace stretto::app
