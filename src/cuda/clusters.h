// The persistent stream of models with small layers: the same token in one kernel, but by clusters of blocks that hand
// vectors on through each other's shared memory.
//
// Where the ring of a multiprocessor holds most of a layer, a token takes as long as its blocks need to exchange
// vectors. A vector that all blocks make and all blocks read goes through the second-level cache (about 0.8 us on an
// H100); one that a cluster makes and reads goes from shared memory to shared memory in a third of that. So a cluster
// owns whole heads: it makes queries, keys and values of them, attends, and multiplies with their columns of the output
// projection; and it owns a run of activations of the feed forward network, from their rows of gate and up to their
// columns of `down`. What all blocks have to exchange is then the residual stream, twice a layer, as one partial sum of
// each cluster. docs/stream.md has the design and what was measured.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cuda/memory.h"
#include "cuda/stream.h"

namespace stretto::cuda {

inline constexpr uint32_t kClusterRanks = 16, kClusterWarps = 16, kClusterThreads = 32 * kClusterWarps;
inline constexpr uint32_t kMostClusters = 8;
// Activations are dealt out to clusters in runs, which are quantised with a scale each.
inline constexpr uint32_t kClusterRun = 32;
inline constexpr uint32_t kMostClusterLayers = 48, kMostClusterSplits = 8;
inline constexpr uint32_t kMostClusterStages = 32;      // of a layer, in a block: the feeder's lanes know them
inline constexpr uint32_t kClusterBlockBytes = 21'120;  // of shared memory: ClusterBlock (device/cluster_block.cuh)

// What a block multiplies in one product. Four rows, a group, belong to `lanes` neighbouring threads; in a step each of
// them has 16 bytes of all four, lane l those of chunk step * lanes + l of the columns, and zeros where there is no
// such chunk. What a warp reads in a step lies together: the rows' 512 bytes each, then their scales (as in a unit of
// cuda/packed.h). Warps follow each other, and steps follow each other.
struct alignas(16) ClusterProduct {
  uint32_t n_groups = 0, lanes = 0, n_steps = 0, n_warps = 0;
};

// What the blocks of a cluster have of a layer.
struct ClusterShare {
  uint32_t first_kv = 0, n_kv = 0;     // heads of keys and values
  uint32_t first_run = 0, n_runs = 0;  // of activations
  ClusterProduct qkv, out, gate_up, down;
  uint32_t n_splits = 0;     // blocks among which a query head may divide its context
  uint64_t layer_bytes = 0;  // of the weights of one block
  uint64_t begin = 0;        // where those of the first layer of its first block lie
};

struct ClusterShape {
  DType type = DType::kF32, cache_type = DType::kF16;
  uint32_t n_clusters = 0, n_attending = 0;  // those that have heads are the first ones
  uint32_t n_layers = 0, d = 0, n_heads = 0, n_kv_heads = 0, head_dim = 0, n_ff = 0;
  ClusterShare share[kMostClusters];
  uint64_t bytes() const;  // of the weights of all blocks
};

struct ClusterLayer {
  const float *attn_norm = nullptr, *ffn_norm = nullptr;
  const float *q_norm = nullptr, *k_norm = nullptr;  // nullptr: none
  void *k_cache = nullptr, *v_cache = nullptr;
};

// Where the parts of shared memory begin. Inputs are codes with their scales behind them, or 16-bit parts.
struct ClusterAt {
  uint32_t in_attention = 0, attended = 0, in_ffn = 0, acted = 0, activations = 0;
  uint32_t barriers = 0, released = 0, ring = 0, bytes = 0;
  uint32_t n_attended = 0, n_acted = 0;  // columns of these inputs, chunks that a row does not have among them
  uint32_t n_stages = 0, stage_bytes = 0, window = 0;
  uint32_t pace = 0;  // cycles for 1024 bytes of a layer's weights; the head's are asked for as fast as they come
  uint32_t piece_bytes = 0;  // of a copy
};

inline constexpr uint32_t kWithheldWeights = UINT32_MAX - 1;  // of the head

// Clocks are those of the tape's phases.
struct ClusterParams : StreamLaunch {
  ClusterShape shape;
  ClusterAt at;
  const uint8_t* weights = nullptr;
  const ClusterLayer* layers = nullptr;
  float* partial = nullptr;  // [2 layers in turn][2][d / 32][kMostClusters][32]: sums of the output
                             // projection and of `down`
  float attn_eps = 0, ffn_eps = 0, head_norm_eps = 0, qk_eps = 0, attention_scale = 0;
  float inverse_d = 0;  // 1 / shape.d
  uint32_t n_ctx = 0;   // of the caches' layout
  Activation act = Activation::kSilu;
  DType embed_type = DType::kF32;
  EmbedParams embed;
  const double* inv_freq = nullptr;  // [head_dim / 2]
  double mscale = 1;
  // The head, as it lies for all kernels (cuda/packed.h).
  const uint8_t* head = nullptr;
  const float* head_norm = nullptr;
  uint32_t head_groups = 0, head_units = 0, vocab = 0;
  float* logits = nullptr;
  uint32_t n_sm = 0;
  uint32_t withheld = UINT32_MAX;  // for tests: the phase whose results block 0 keeps to itself, or kWithheldWeights
};

// The most clusters that run at a time.
uint32_t most_clusters(const DeviceShape& device);
// Fills `shape`, `at` and what the tape says of `params`. Why clusters cannot run this tape, or would not be faster, is
// returned; empty: they can.
std::string plan_clusters(const StreamTape& tape, const FillRopeParams* ropes, uint32_t n_ropes,
                          const DeviceShape& device, uint32_t n_clusters, const StreamChoice& choice,
                          ClusterParams& params, std::vector<ClusterLayer>& layers);
// From the packed matrices of a layer (cuda/packed.h) into the order of the blocks.
struct ClusterSources {
  const uint8_t *qkv = nullptr, *out = nullptr, *gate_up = nullptr, *down = nullptr;
};
void pack_clusters(cudaStream_t stream, const ClusterShape& shape, const ClusterSources* sources, uint8_t* to);
void prepare_clusters(const DeviceShape& device);
void launch_clusters(cudaStream_t stream, const ClusterParams& params);

}  // namespace stretto::cuda
