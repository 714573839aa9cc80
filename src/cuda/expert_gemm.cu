// Sorting of pairs by expert, and launches of device/expert_gemm_kernel.cuh.
//
// Sort: a block per expert counts all choices and places its own in order. Bytes: the ids once per block, from the L2
// cache.
#include "base/checked.h"
#include "cuda/device/expert_gemm_kernel.cuh"

namespace stretto::cuda {
namespace {

constexpr uint32_t kSortThreads = 1024;

__global__ void __launch_bounds__(kSortThreads) sort_pairs_kernel(SortPairsParams p) {
  __shared__ uint32_t counts[kMaxRoutedExperts], of_warp[kSortThreads / 32], begin, first_tile;
  trigger_dependents();
  const uint32_t expert = blockIdx.x, warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  for (uint32_t i = threadIdx.x; i < p.n_experts; i += blockDim.x) counts[i] = 0;
  wait_for_inputs();
  __syncthreads();
  for (uint32_t i = threadIdx.x; i < p.n_pairs; i += blockDim.x) atomicAdd(&counts[p.ids[i]], 1);
  __syncthreads();
  const uint32_t n = counts[expert];
  if (warp == 0) {
    uint32_t pairs = 0, tiles = 0;
    for (uint32_t e = lane; e < expert; e += 32) {
      pairs += counts[e];
      tiles += (counts[e] + kPairTile - 1) / kPairTile;
    }
    pairs = __reduce_add_sync(0xffffffffu, pairs);
    tiles = __reduce_add_sync(0xffffffffu, tiles);
    if (lane == 0) {
      begin = pairs;
      first_tile = tiles;
    }
  }
  __syncthreads();
  const uint32_t n_tiles = (n + kPairTile - 1) / kPairTile;
  if (threadIdx.x == 0 && expert + 1 == p.n_experts) p.tiles[0].n = first_tile + n_tiles;
  for (uint32_t t = threadIdx.x; t < n_tiles; t += blockDim.x)
    p.tiles[1 + first_tile + t] = {expert, begin + t * kPairTile, min(kPairTile, n - t * kPairTile)};
  uint32_t placed = begin;
  for (uint32_t base = 0; base < p.n_pairs && placed < begin + n; base += blockDim.x) {
    const uint32_t i = base + threadIdx.x;
    const bool mine = i < p.n_pairs && static_cast<uint32_t>(p.ids[i]) == expert;
    const uint32_t votes = __ballot_sync(0xffffffffu, mine);
    if (lane == 0) of_warp[warp] = __popc(votes);
    __syncthreads();
    const uint32_t before = __reduce_add_sync(0xffffffffu, lane < warp ? of_warp[lane] : 0);
    const uint32_t all = __reduce_add_sync(0xffffffffu, of_warp[lane]);
    if (mine) p.pairs[placed + before + __popc(votes & ((1U << lane) - 1))] = i;
    placed += all;
    __syncthreads();
  }
}

template <class F>
void visit_tile(DType type, const F& f) {
  visit_packed(type, [&](auto format) { f(ExpertGemmTile<decltype(format)>{}); });
}

}  // namespace

DType expert_dense_type(DType type) { return type == DType::kF16 ? DType::kF16 : DType::kBF16; }

uint32_t expert_dense_stride(const ExpertShape& shape) {
  uint32_t chunk = 0;
  visit_tile(shape.packed.type, [&](auto tile) { chunk = decltype(tile)::kChunk; });
  return static_cast<uint32_t>(round_up(shape.n_in, chunk));
}

void launch_sort_pairs(Queue& queue, const SortPairsParams& params) {
  launch_kernel(queue, &sort_pairs_kernel, dim3(params.n_experts), kSortThreads, 0, params);
}

void launch_expert_gemm(Queue& queue, const ExpertShape& shape, uint32_t max_tiles, ExpertGemmParams params) {
  params.expert_bytes = shape.expert_bytes();
  params.n_out = shape.n_out;
  params.n_in = shape.n_in;
  params.n_groups = shape.n_groups;
  params.n_units = shape.n_units();
  params.fold = shape.fold;
  params.x_stride = expert_dense_stride(shape);
  // The zeros behind the outputs of gate_up are written too.
  const uint64_t rows = params.gate_up ? 2 * uint64_t{params.out_stride} : shape.n_out;
  const dim3 grid(static_cast<uint32_t>(div_up(rows, kRowTile)), max_tiles);
  visit_packed(shape.packed.type, [&](auto format) {
    using Format = decltype(format);
    launch_kernel(queue, &expert_gemm_kernel<Format>, grid, kGemmThreads, ExpertGemmTile<Format>::kSharedBytes, params);
  });
}

void prepare_expert_gemm(const DeviceShape& device) {
  std::apply([&](auto... format) { (prepare_kernel(&expert_gemm_kernel<decltype(format)>, device), ...); },
             PackedFormats{});
}

}  // namespace stretto::cuda
