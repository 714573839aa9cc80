// Products of large steps with experts: the (row, choice) pairs sorted by expert on the device, then one grouped
// product per matrix whose sizes are read there.
#pragma once

#include "cuda/experts.h"

namespace stretto::cuda {

inline constexpr uint32_t kPairTile = 64;  // pairs of one expert that one block multiplies

// A run of sorted pairs of one expert.
struct ExpertTile {
  uint32_t expert = 0;
  uint32_t first = 0;  // of the sorted pairs
  uint32_t n = 0;      // 1 .. kPairTile
};

// Sizes that hold whatever the experts choose.
inline uint64_t max_expert_tiles(uint64_t n_pairs, uint64_t n_experts) {
  return n_pairs / kPairTile + (n_pairs < n_experts ? n_pairs : n_experts);
}
inline uint64_t expert_tiles_bytes(uint64_t n_pairs, uint64_t n_experts) {
  return sizeof(ExpertTile) * (1 + max_expert_tiles(n_pairs, n_experts));
}

// pairs: those of expert 0 in order, then those of expert 1, ...; tiles[0].n is their number, tiles[1 ..] they.
struct SortPairsParams {
  const int32_t* ids = nullptr;  // [n_pairs]
  uint32_t n_pairs = 0, n_experts = 0;
  uint32_t* pairs = nullptr;
  ExpertTile* tiles = nullptr;
};
void launch_sort_pairs(Queue& queue, const SortPairsParams& params);

// The type that activations and weights are rounded to, and the columns that a rounded vector has to have: zeros
// behind n_in.
DType expert_dense_type(DType type);
uint32_t expert_dense_stride(const ExpertShape& shape);

struct ExpertGemmParams {
  const uint8_t* weights = nullptr;
  const uint32_t* pairs = nullptr;
  const ExpertTile* tiles = nullptr;
  uint32_t top_k = 0;
  const void* x = nullptr;  // rounded; gate_up: [rows, stride], else [n_pairs, stride] in the order of `pairs`
  bool gate_up = false;
  // gate_up: act(gate) * up, rounded to out_type, in the order of `pairs`, rows of out_stride, zeros behind n_out.
  // else: floats, row pairs[i], n_out.
  void* out = nullptr;
  bool out_is_f16 = false;
  uint32_t out_stride = 0;
  bool split = false;  // x, and the result of gate_up, in two parts: rows of twice the stride (device/store.cuh)
  Activation act = Activation::kSilu;
  // Filled by launch_expert_gemm.
  uint64_t expert_bytes = 0;
  uint32_t n_out = 0, n_in = 0, n_groups = 0, n_units = 0, fold = 1, x_stride = 0;
};
void launch_expert_gemm(Queue& queue, const ExpertShape& shape, uint32_t max_tiles, ExpertGemmParams params);

void prepare_expert_gemm(const DeviceShape& device);

}  // namespace stretto::cuda
