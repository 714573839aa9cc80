// Mixtures of experts: routing, products of one row with the experts it chose, and how their weights lie.
#pragma once

#include <cstdint>

#include "cuda/launch.h"
#include "cuda/packed.h"
#include "ops/gated_act.h"
#include "program/program.h"

namespace stretto::cuda {

inline constexpr uint32_t kMaxRoutedExperts = 512;  // of a layer
inline constexpr uint32_t kMaxTopK = 32;            // a lane of a warp each

// Scratch of the experts of a step, one piece each.
enum ExpertBuffer : uint8_t {
  kExpertLogits,   // [rows, n_experts] floats
  kExpertIds,      // [rows, top_k]
  kExpertWeights,  // [rows, top_k] floats
  kExpertPairs,    // [rows * top_k]: the (row, choice) pairs by expert
  kExpertTiles,    // how many tiles of large steps there are, and the tiles (cuda/expert_gemm.h)
  kExpertNormed,   // [rows, d] floats, of large steps
  kExpertInput,    // [rows, stride]: rounded activations of large steps
  kExpertHidden,   // [rows, top_k * d_ff] floats, or of large steps [rows * top_k, stride] rounded
  kExpertDown,     // [rows * top_k, d] floats, of large steps
  kExpertBuffers
};

// Weights of the experts of one layer: every expert in whole groups of rows, one after the other. Where a row ends in
// the middle of a unit and two rows fill theirs (768 columns in units of 512), two rows lie one behind the other as if
// they were one of twice the width: fold is 2, and nothing is padded.
struct ExpertShape {
  PackedShape packed;  // of all experts; n_in columns times fold
  uint32_t n_experts = 0;
  uint32_t n_out = 0, n_in = 0;
  uint32_t n_groups = 0;  // of an expert
  uint32_t fold = 1;
  uint64_t expert_bytes() const { return n_groups * packed.group_bytes(); }
  uint32_t n_units() const { return static_cast<uint32_t>(packed.n_units()); }
  // Columns of an input vector as the kernels hold it.
  uint32_t padded() const { return n_units() * packed.unit.cols; }
};
// `w` is [n_experts, n_out, n_in]; with gate_up, two such weights as groups {gate 2 g, gate 2 g + 1, up 2 g, up 2 g +
// 1}.
ExpertShape expert_shape(const WeightInfo& w, bool gate_up);

enum class ExpertMode : uint8_t {
  kPlain,   // out[j, o] = w[ids[j], o, :] x[j]
  kGateUp,  // out[j, o] = act(gate[ids[j], o, :] n) * (up[ids[j], o, :] n), n = RmsNorm(x) * norm
  kSum,  // out[o] = residual[o] + sum_j weights[j] * w[ids[j], o, :] x[j], in the order of j; the logits were complete
         // before the kernel in front of it triggered its dependents, so its stream of weights starts before the wait
};

// How the experts of a row are known: from its logits, which every block that needs the choice makes for itself, or
// from ids.
struct Router {
  const float* logits = nullptr;  // [rows, n_experts]
  const int32_t* ids = nullptr;   // [rows, top_k], without logits
  uint32_t n_experts = 0, top_k = 0;
  bool renormalise = true;
  float scale = 1;
};

struct ExpertGemvTuning {
  uint32_t n_warps = 0, n_blocks = 0, units_per_stage = 0, n_stages = 0, shared_bytes = 0;
  Trigger trigger = Trigger::kEntry;  // of gate_up always where its wait is over
};
// What measurements may fix instead of tune(): zeros leave the choice.
struct ExpertChoice {
  uint32_t n_warps = 0, stage_bytes = 0;
  uint32_t ring_bytes = 0, sum_ring_bytes = 0;  // of gate_up, of the sum
  uint32_t trigger = 0;                         // trigger_of(), of the sum
  uint32_t pause_cycles = 0;                    // sum_pause_cycles()
};
ExpertGemvTuning tune_expert_gemv(const ExpertShape& shape, ExpertMode mode, uint32_t top_k, bool shared_x,
                                  const DeviceShape& device, const ExpertChoice& choice = {});
// How long the sum of one row holds its copies back, counted from its begin: until about the time when gate_up, which
// begins a little earlier and can use its weights sooner, has read its own. 0 where they do not run side by side.
uint32_t sum_pause_cycles(const ExpertShape& gate_up, const ExpertGemvTuning& gate_up_tuning,
                          const ExpertGemvTuning& sum_tuning, uint32_t top_k, const DeviceShape& device);

struct ExpertGemvParams {
  ExpertMode mode = ExpertMode::kPlain;
  const uint8_t* weights = nullptr;
  Router router = {};
  const float* x = nullptr;  // [rows, n_in], or [rows, top_k * n_in] where every choice has its own
  bool shared_x = false;
  const float* norm = nullptr;
  float eps = 0;
  Activation act = Activation::kSilu;
  const float* residual = nullptr;  // kSum; nullptr: none
  float* out = nullptr;             // [rows, top_k * n_out], kSum [rows, n_out]
  uint32_t pause_cycles = 0;        // kSum
  // Filled by launch_expert_gemv.
  uint64_t expert_bytes = 0;
  uint32_t n_out = 0, n_in = 0, n_groups = 0, n_units = 0, fold = 1;
  uint32_t units_per_stage = 0, n_stages = 0;
  Trigger trigger = Trigger::kEntry;
};
void launch_expert_gemv(Queue& queue, const ExpertShape& shape, const ExpertGemvTuning& tuning, uint32_t n_rows,
                        ExpertGemvParams params);

// logits[r, e] = w[e, :] RmsNorm(x[r]) * norm, in floats.
struct RouterLogitsParams {
  const float* x = nullptr;     // [rows, n_in]
  const float* norm = nullptr;  // [n_in]
  const float* w = nullptr;     // [n_experts, n_in]
  float* logits = nullptr;
  uint32_t n_in = 0, n_experts = 0, n_rows = 0;
  float eps = 0;
};
void launch_router_logits(Queue& queue, const RouterLogitsParams& params);
// The same for many rows at once.
void launch_router_rows(Queue& queue, const RouterLogitsParams& params);

// RouterTopK.
struct TopKParams {
  Router router = {};
  int32_t* ids = nullptr;
  float* weights = nullptr;
  uint32_t n_rows = 0;
};
void launch_top_k(Queue& queue, const TopKParams& params);

// out[r, i] = residual[r, i] + sum_j weights[r, j] * x[r, j * width + i]; without residual 0.
struct ExpertSumParams {
  const float* x = nullptr;
  const float* weights = nullptr;
  const float* residual = nullptr;
  float* out = nullptr;
  uint32_t n_rows = 0, width = 0, top_k = 0;
};
void launch_expert_sum(Queue& queue, const ExpertSumParams& params);

void prepare_experts(const DeviceShape& device);

}  // namespace stretto::cuda
