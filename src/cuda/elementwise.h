// Row-wise kernels: RMS norm, sum, gated activation, biases, rounding of activations for matrix products.
#pragma once

#include <cstdint>

#include "base/dtype.h"
#include "cuda/launch.h"
#include "ops/gated_act.h"

namespace stretto::cuda {

// Normalises each of n_groups runs of `group` values. out_type F32, F16 or BF16; the last two take rows of `width`
// values to rows of `stride`, padded with zeros.
struct RmsNormParams {
  const float* x = nullptr;
  const float* weight = nullptr;  // [group], nullptr: 1
  void* out = nullptr;
  uint32_t group = 0;
  uint32_t stride = 0;  // of the output, between groups
  float eps = 0;
  bool split = false;  // F16, BF16: rows of 2 stride, behind the rounded values what rounding took away
};
void launch_rms_norm(Queue& queue, uint32_t n_groups, DType out_type, const RmsNormParams& params);

// Rounds rows of `width` values to F16 or BF16 (or copies F32) with rows of `stride`, padded with zeros.
struct RoundParams {
  const float* x = nullptr;
  void* out = nullptr;
  uint32_t width = 0, stride = 0;
  bool split = false;  // as in RmsNormParams
};
void launch_round(Queue& queue, uint32_t n_rows, DType out_type, const RoundParams& params);

// out = a + b, n values; b repeats after b_width values.
struct AddParams {
  const float* a = nullptr;
  const float* b = nullptr;
  float* out = nullptr;
  uint64_t n = 0, b_width = 0;
};
void launch_add(Queue& queue, const AddParams& params);

// out = act(gate) * up, n values.
struct GatedActParams {
  const float* gate = nullptr;
  const float* up = nullptr;
  float* out = nullptr;
  uint64_t n = 0;
  Activation act = Activation::kSilu;
};
void launch_gated_act(Queue& queue, const GatedActParams& params);

// out[r, o] = act(gate + b_gate[o]) * (up + b_up[o]), where row r of x holds the rows of gate_up groups (cuda/gemv.h):
// gate 2 g, gate 2 g + 1, up 2 g, up 2 g + 1. out_type F32, F16 or BF16, rows of `out_stride` values, an even number
// or `width`; values behind `width` are zeros.
struct GateUpActParams {
  const float* x = nullptr;
  const float* b_gate = nullptr;
  const float* b_up = nullptr;
  void* out = nullptr;
  uint32_t width = 0, x_stride = 0, out_stride = 0;
  Activation act = Activation::kSilu;
};
void launch_gate_up_act(Queue& queue, uint32_t n_rows, DType out_type, const GateUpActParams& params);

// Takes the columns of rows apart: part[i].out[r, o] = x[r, before + o] + bias[o], where `before` are the widths of
// the parts before.
struct SplitColumnsParams {
  static constexpr int kMaxParts = 3;
  const float* x = nullptr;
  uint32_t stride = 0;
  struct Part {
    float* out = nullptr;
    const float* bias = nullptr;  // nullptr: none
    uint32_t width = 0;           // 0: no such part
  } part[kMaxParts];
};
void launch_split_columns(Queue& queue, uint32_t n_rows, const SplitColumnsParams& params);

}  // namespace stretto::cuda
