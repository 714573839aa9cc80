// The ops of a swap layer beside its banks' products (cuda/bank_gemv.h): routing, writing, collapsing, rows of states.
#pragma once

#include <cstdint>

#include "cuda/launch.h"

namespace stretto::cuda {

inline constexpr uint32_t kMaxSwapBanks = 512;

// SwapHooks of one decision (ops/swap_streams.h).
struct SwapHookParams {
  const float* forced = nullptr;  // [n_forced, forced_stride], nullptr: none
  float* trace = nullptr;         // [n_ctx, trace_stride], nullptr: none
  uint32_t n_forced = 0, forced_stride = 0, trace_stride = 0;
  uint32_t column = 0, margin_column = 0;
};

// SwapRoute. Row r of the step stands at position *position + first_row + r.
struct SwapRouteParams {
  const float* v = nullptr;          // [rows, d]
  const float* ram = nullptr;        // [rows, 4, d], nullptr: zeros
  const int32_t* streams = nullptr;  // [rows, kStreamFields], nullptr: zeros
  bool first = false;
  const float* norm = nullptr;
  const float* router = nullptr;  // [n_banks, d]
  const float* router_bias = nullptr;
  const float* switches = nullptr;  // [kSwitches, d]
  const float* switch_bias = nullptr;
  const float* read = nullptr;  // [d]
  const float* read_bias = nullptr;
  float* out = nullptr;            // [rows, d]
  int32_t* bank = nullptr;         // [rows]
  int32_t* streams_out = nullptr;  // [rows, kStreamFields]
  // Where the rows that this event does not write go, nullptr: nowhere. [rows, 4, d]
  float* ram_out = nullptr;
  const int32_t* position = nullptr;
  uint32_t first_row = 0;
  uint32_t d = 0, n_banks = 0;
  float eps = 0;
  SwapHookParams hooks = {};
};
void launch_swap_route(Queue& queue, uint32_t n_rows, const SwapRouteParams& params);

// SwapWrite.
struct SwapWriteParams {
  const float* v = nullptr;
  const int32_t* streams = nullptr;
  const float* ram = nullptr;  // nullptr: zeros
  float* out = nullptr;        // [rows, 4, d]
  uint32_t d = 0;
};
void launch_swap_write(Queue& queue, uint32_t n_rows, const SwapWriteParams& params);

// SwapCollapse.
struct SwapCollapseParams {
  const float* v = nullptr;
  const float* ram = nullptr;
  const int32_t* streams = nullptr;
  const float* residual = nullptr;
  const float* norm = nullptr;
  const float* w = nullptr;     // [4, d]
  const float* bias = nullptr;  // [4]
  float* out = nullptr;
  const int32_t* position = nullptr;
  uint32_t first_row = 0;
  uint32_t d = 0;
  float eps = 0;
  SwapHookParams hooks = {};
};
void launch_swap_collapse(Queue& queue, uint32_t n_rows, const SwapCollapseParams& params);

// StateRead and StateWrite: rows of `width` words of four bytes.
struct StateRowsParams {
  uint32_t* state = nullptr;  // [n_ctx, width]
  uint32_t* rows = nullptr;   // [n_rows, width]
  const int32_t* position = nullptr;
  uint32_t first_row = 0, width = 0, lag = 0;
  bool writes = false;
};
void launch_state_rows(Queue& queue, uint32_t n_rows, const StateRowsParams& params);

void prepare_swap(const DeviceShape& device);

}  // namespace stretto::cuda
