// Matrix times one vector, or a few, for packed weights of every format: the main kernel of decode and verify steps.
#pragma once

#include <array>
#include <cstdint>

#include "cuda/launch.h"
#include "cuda/packed.h"
#include "cuda/quantized.h"
#include "ops/gated_act.h"

namespace stretto::cuda {

// Kernels are made for these numbers of tokens; a launch takes up to as many.
inline constexpr std::array<uint32_t, 4> kGemvTokens = {1, 2, 4, 8};

// How one launch is cut; a pure function of the matrix and the device, tested without either.
struct GemvTuning {
  uint32_t n_warps = 0;  // of a block, <= 8
  uint32_t blocks_per_sm = 0;
  uint32_t units_per_stage = 0;
  uint32_t n_stages = 0;
  uint32_t n_blocks = 0;
  uint32_t run_groups = 1;  // blocks own whole runs of this many groups
  Trigger trigger = Trigger::kEntry;
  uint32_t shared_bytes = 0;
};

// What a caller may fix instead of tune(): zeros leave the choice. For measurements.
struct GemvChoice {
  uint32_t n_warps = 0, blocks_per_sm = 0, stage_bytes = 0, ring_bytes = 0;
  uint32_t least_bytes = 0;       // of shared memory of a block
  uint32_t ahead_bytes = 0;       // of NextWeights per SM
  uint32_t trigger = 0;           // trigger_of()
  bool beside_attention = false;  // not a choice: leave room on the SM for attention
};

// run_groups divides the groups of the matrix. More shared_bytes than the device has: so many tokens do not fit.
GemvTuning tune_gemv(const PackedShape& shape, bool with_norm, const DeviceShape& device, const GemvChoice& choice,
                     uint32_t run_groups = 1, uint32_t n_tokens = 1);

// Rows of the matrix, in order, go to up to three outputs.
struct GemvPart {
  float* out = nullptr;         // [n_tokens, n_rows]
  const float* bias = nullptr;  // nullptr: none
  uint32_t n_rows = 0;
};

// What a launch fetches into the second-level cache when it has started its own last copies: the first bytes of each of
// the n_pieces runs in which the warps of the next launch will read its matrix. Only kernels of formats with 32 columns
// a lane do so (gemv_ahead_bytes): to others it costs more than it brings, and so does the question whether to.
struct NextWeights {
  const uint8_t* data = nullptr;  // nullptr: nothing
  uint64_t stride = 0;            // from piece to piece, a multiple of 16 as `bytes` is
  uint32_t n_pieces = 0, bytes = 0;
};

// out = finish(W f(x)) for every token, f being the norm, where there is one. The result of a token has the same bits
// however many share its launch.
//   plain    part.out[o] = y[o] + bias[o] + residual[o]      a residual only with one part
//   gate_up  groups are {gate 2 g, gate 2 g + 1, up 2 g, up 2 g + 1}: part[0].out[o] = act(gate[o] + part[0].bias[o]) *
//            (up[o] + part[1].bias[o]), or the same quantised, with runs of kQuantizedGroups
struct GemvParams {
  const uint8_t* weights = nullptr;
  uint32_t n_in = 0, n_units = 0, n_groups = 0;
  uint32_t n_tokens = 1;
  const float* x = nullptr;          // [n_tokens, n_in]
  QuantizedVector x_quantized = {};  // instead of x; integer weights, no norm; that of the first token
  const float* norm = nullptr;       // [n_in], nullptr: x is taken as it is
  float eps = 0;
  GemvPart part[3] = {};
  const float* residual = nullptr;  // [n_tokens, part[0].n_rows]
  bool gate_up = false;
  Activation act = Activation::kSilu;
  QuantizedVector out_quantized = {};  // of gate_up, instead of part[0].out; that of the first token
  uint32_t run_groups = 1;
  uint32_t units_per_stage = 0, n_stages = 0;
  Trigger trigger = Trigger::kEntry;
  NextWeights next[2] = {};
};

bool gemv_supports(DType type);
// Bytes per SM of NextWeights for a launch over a matrix of this type, 0 for formats whose kernels fetch nothing.
uint32_t gemv_ahead_bytes(DType type, const GemvChoice& choice);
void prepare_gemv(const DeviceShape& device);
// Fills the geometry of `params` from shape and tuning.
void launch_gemv(Queue& queue, const PackedShape& shape, const GemvTuning& tuning, GemvParams params);

// Two matrices of different formats with the same input, of one token, in one launch: blocks divided by bytes.
struct GemvPairParams {
  GemvParams first, second;
  uint32_t n_first_blocks = 0;
};
struct GemvPairTuning {
  GemvTuning first, second;
};
bool gemv_pair_supports(DType first, DType second);
GemvPairTuning tune_gemv_pair(const PackedShape& first, const PackedShape& second, bool with_norm,
                              const DeviceShape& device, const GemvChoice& choice);
void launch_gemv_pair(Queue& queue, const PackedShape& first, const PackedShape& second, const GemvPairTuning& tuning,
                      GemvPairParams params);

}  // namespace stretto::cuda
