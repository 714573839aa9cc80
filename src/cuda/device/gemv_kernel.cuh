// Matrix times vector, or a few vectors, over packed units.
//
// Parallel over: blocks take equal runs of row groups; the warps of a block take equal runs of the block's units, so
// that every warp streams one contiguous piece of memory; lanes take columns. Four rows share each read of x.
// Bytes: the packed weights once (the floor), x once per block, the result.
// Order of a step: start the weight stream, wait for x, quantise it, consume the stream. What the ring holds
// (about 140 KB per SM) keeps memory busy while the previous kernel ends, x arrives and the partial sums meet.
// Sums: a lane over its columns, the lanes of a warp by shuffles, the warps of a group in warp order. All fixed, so the
// result has the same bits every time.
// Several tokens (verification of drafts) share every read and every decoding of a weight; the order of each token's
// sums stays that of one token. Five and more go through the tensor cores where a format has one scale per 32 columns
// (wide_tiles.cuh): four tokens of Q8_0 take a fifth of what an SM can issue while it reads at full rate, eight of Q4_K
// twice that.
// Limits: x and the ring in shared memory together.
#pragma once

#include "cuda/device/dependency.cuh"
#include "cuda/device/gemv_accumulator.cuh"
#include "cuda/device/weight_stream.cuh"

namespace stretto::cuda {

// Formats that cost more arithmetic than others per byte have more warps.
constexpr uint32_t kMaxGemvWarps = 12;
template <class Format>
constexpr uint32_t kGemvWarps = is_wide<Format>() ? 12 : 8;

// Shared memory of a block, in order; every part is a multiple of 16 bytes.
struct GemvLayout {
  uint32_t stride, scale_stride;  // GemvInput's
  uint32_t norm, scratch, x, scale, block_sums, sums, edges, edge_groups, barriers, ring, bytes;

  // tiles: the vectors of neighbouring tokens begin in different banks.
  __host__ __device__ GemvLayout(bool integer, bool tiles, uint32_t padded, uint32_t norm_elements, uint32_t n_warps,
                                 uint32_t groups_per_block, uint32_t n_stages, uint32_t ring_bytes, uint32_t n_tokens)
      : stride(padded + (tiles ? 16 : 0)), scale_stride(padded / 32 + (tiles ? 4 : 0)) {
    uint32_t at = 0;
    const auto take = [&at](uint32_t bytes) {
      const uint32_t begin = at;
      at += (bytes + 15) / 16 * 16;
      return begin;
    };
    norm = take(4 * norm_elements);
    scratch = take(128 * n_tokens);
    x = take((integer ? stride : 4 * padded) * n_tokens);
    scale = take(integer ? 4 * scale_stride * n_tokens : 0);
    block_sums = take(tiles ? 4 * scale_stride * n_tokens : 0);
    sums = take(16 * groups_per_block * n_tokens);
    edges = take(16 * kMaxGemvWarps * n_tokens);
    edge_groups = take(4 * kMaxGemvWarps);
    barriers = take(8 * n_stages * n_warps);
    ring = (at + 127) / 128 * 128;
    bytes = ring + ring_bytes * n_warps;
  }
};

// Row `row` of the plain result of token t, all but its bias; where there is a `copy`, of one part, it gets it too.
__device__ __forceinline__ void store_row(const GemvParams& p, uint32_t t, uint32_t row, float y, float* copy) {
  if (copy != nullptr && row < p.part[0].n_rows) copy[row] = y;
#pragma unroll
  for (int i = 0; i < 3; ++i) {
    const GemvPart& part = p.part[i];
    if (row < part.n_rows) {
      if (part.bias != nullptr) y = __fadd_rn(y, part.bias[row]);
      part.out[uint64_t{t} * part.n_rows + row] = y;
      return;
    }
    row -= part.n_rows;
  }
}

// What a block has summed: rows by group, and what a warp added to a group that an earlier one began.
template <uint32_t kMostWarps>
struct GemvSums {
  float* sums;            // [4 n_local] per token
  float* edges;           // [4] per warp and token
  uint32_t* edge_groups;  // per warp
  uint32_t n_local;

  __device__ __forceinline__ float total(uint32_t t, uint32_t local_row) const {
    float y = sums[4 * n_local * t + local_row];
#pragma unroll
    for (uint32_t w = 1; w < kMostWarps; ++w) {
      const float edge = edges[4 * (kMaxGemvWarps * t + w) + local_row % 4];
      y += edge_groups[w] == local_row / 4 ? edge : 0;
    }
    return y;
  }
};

// f(token, index) for n indices of every token by the threads of the block, all tokens side by side: threads that would
// wait for one token's residual store another's meanwhile.
template <uint32_t kTokens, class F>
__device__ __forceinline__ void for_each_result(const GemvParams& p, uint32_t n, const F& f) {
  if constexpr (kTokens == 1) {
    for (uint32_t i = threadIdx.x; i < n; i += blockDim.x) f(0U, i);
  } else {
    for (uint32_t i = threadIdx.x; i < n * p.n_tokens; i += blockDim.x) f(i / n, i % n);
  }
}

template <uint32_t kMostWarps, uint32_t kTokens>
__device__ __forceinline__ void store_gate_up(const GemvParams& p, const GemvInput& in, const GemvSums<kMostWarps>& s,
                                              uint32_t first_group) {
  const float first_factor = norm_factor<kMostWarps>(p, in, 0);
  for_each_result<kTokens>(p, 2 * s.n_local, [&](uint32_t t, uint32_t i) {
    const uint32_t o = 2 * first_group + i, gate_row = 4 * (i / 2) + i % 2;
    if (o >= p.part[0].n_rows) return;
    const float factor = kTokens == 1 ? first_factor : norm_factor<kMostWarps>(p, in, t);
    // By name, lest kernels for one token and for several round differently.
    const float gate = __fmaf_rn(s.total(t, gate_row), factor, p.part[0].bias != nullptr ? p.part[0].bias[o] : 0);
    const float up = __fmaf_rn(s.total(t, gate_row + 2), factor, p.part[1].bias != nullptr ? p.part[1].bias[o] : 0);
    const float y = activate(p.act, gate) * up;
    if (p.out_quantized.codes != nullptr) {  // whole warps: o runs over whole blocks
      quantize_one(p.out_quantized.row(t, p.part[0].n_rows), o, y);
    } else {
      p.part[0].out[uint64_t{t} * p.part[0].n_rows + o] = y;
    }
  });
}

// `residual` is that of the thread's first row.
template <uint32_t kMostWarps, uint32_t kTokens>
__device__ __forceinline__ void store_plain(const GemvParams& p, const GemvInput& in, const GemvSums<kMostWarps>& s,
                                            uint32_t first_group, float residual, float* copy) {
  const float first_factor = norm_factor<kMostWarps>(p, in, 0);
  bool is_first = true;
  for_each_result<kTokens>(p, 4 * s.n_local, [&](uint32_t t, uint32_t i) {
    const uint32_t row = 4 * first_group + i;
    if (p.residual != nullptr && !is_first && row < p.part[0].n_rows)
      residual = p.residual[uint64_t{t} * p.part[0].n_rows + row];
    is_first = false;
    const float factor = kTokens == 1 ? first_factor : norm_factor<kMostWarps>(p, in, t);
    store_row(p, t, row, __fmaf_rn(s.total(t, i), factor, residual), copy);
  });
}

// The residual of the first row that the thread will store. It is asked for before the input: behind the copies of the
// next kernel it would arrive 4 us later.
template <uint32_t kTokens, class Block>
__device__ __forceinline__ float first_residual(const GemvParams& p, const Block& b) {
  const uint32_t n = 4 * (b.end_group - b.first_group), t = kTokens == 1 ? 0 : threadIdx.x / n;
  const uint32_t row = 4 * b.first_group + threadIdx.x - t * n;
  if (p.residual == nullptr || threadIdx.x >= n * (kTokens == 1 ? 1 : p.n_tokens) || row >= p.part[0].n_rows) return 0;
  return p.residual[uint64_t{t} * p.part[0].n_rows + row];
}

// By lane 0 of each warp: its share of what the next launch reads first.
__device__ __forceinline__ void fetch_next(const GemvParams& p, uint32_t warp, uint32_t n_warps) {
#pragma unroll
  for (const NextWeights& next : p.next)
    for (uint32_t i = warp; i < next.n_pieces; i += n_warps) prefetch_async(next.data + i * next.stride, next.bytes);
}

// What block `block` of the n_blocks that share a matrix multiplies, and where its shared memory has what.
template <class Format, uint32_t kTokens>
struct GemvBlock {
  uint8_t* shared;
  uint32_t block, n_blocks;
  uint32_t warp, lane, n_warps;
  uint32_t first_group, end_group, most_groups, padded;
  uint32_t begin_group, begin_unit, n_units;  // this warp's units of the block's
  StreamShape shape;
  GemvLayout at;
  GemvInput in;

  __device__ __forceinline__ GemvBlock(const GemvParams& p, uint8_t* memory, uint32_t block, uint32_t n_blocks)
      : shared(memory),
        block(block),
        n_blocks(n_blocks),
        warp(threadIdx.x / 32),
        lane(threadIdx.x % 32),
        n_warps(blockDim.x / 32),
        first_group(block * (p.n_groups / p.run_groups) / n_blocks * p.run_groups),
        end_group((block + 1) * (p.n_groups / p.run_groups) / n_blocks * p.run_groups),
        most_groups((p.n_groups / p.run_groups + n_blocks - 1) / n_blocks * p.run_groups),
        padded(p.n_units * Format::kUnitCols),
        begin_group(begin_of(p, warp) / p.n_units),
        begin_unit(begin_of(p, warp) % p.n_units),
        n_units(begin_of(p, warp + 1) - begin_of(p, warp)),
        shape{Format::kUnitBytes, p.units_per_stage, p.n_stages},
        at(Format::kInteger, kTiles<Format, kTokens>, padded, p.norm != nullptr ? p.n_in : 0, n_warps, most_groups,
           p.n_stages, shape.ring_bytes(), kTokens),
        in{reinterpret_cast<float*>(shared + at.norm),
           reinterpret_cast<float*>(shared + at.scratch),
           reinterpret_cast<int8_t*>(shared + at.x),
           reinterpret_cast<float*>(shared + at.scale),
           reinterpret_cast<float*>(shared + at.x),
           padded,
           at.stride,
           at.scale_stride,
           reinterpret_cast<float*>(shared + at.block_sums)} {
    auto* const edge_groups = reinterpret_cast<uint32_t*>(shared + at.edge_groups);
    if (lane == 0) edge_groups[warp] = n_units > 0 && begin_unit != 0 ? begin_group : UINT32_MAX;
    if (threadIdx.x >= n_warps && threadIdx.x < kMaxGemvWarps) edge_groups[threadIdx.x] = UINT32_MAX;
  }

  __device__ __forceinline__ uint32_t begin_of(const GemvParams& p, uint32_t w) const {
    return w * ((end_group - first_group) * p.n_units) / n_warps;
  }
  __device__ __forceinline__ WeightStream stream(const uint8_t* matrix, uint32_t group_units, uint32_t n_stages) const {
    return WeightStream(shape, shared + at.ring + warp * shape.ring_bytes(),
                        reinterpret_cast<uint64_t*>(shared + at.barriers) + warp * n_stages,
                        matrix + (uint64_t{first_group + begin_group} * group_units + begin_unit) * Format::kUnitBytes,
                        n_units);
  }
};

// Consumes the stream; the block has its input in shared memory and has synchronised. `residual` is first_residual().
template <class Format, uint32_t kMostWarps, uint32_t kTokens>
__device__ __forceinline__ void multiply_block(const GemvParams& p, const GemvBlock<Format, kTokens>& b,
                                               WeightStream& stream, float residual, float* copy = nullptr) {
  const GemvInput& in = b.in;
  const uint32_t lane = b.lane, warp = b.warp;
  const GemvSums<kMostWarps> s{reinterpret_cast<float*>(b.shared + b.at.sums),
                               reinterpret_cast<float*>(b.shared + b.at.edges),
                               reinterpret_cast<uint32_t*>(b.shared + b.at.edge_groups), b.end_group - b.first_group};
  typename SumsOfWarp<Format, kTokens>::Type accumulator;
  uint32_t group = b.begin_group, u = b.begin_unit;
  bool continued = u != 0;  // an earlier warp began this group
  [[maybe_unused]] bool fetched_next = false;
  for (uint32_t done = 0; done < b.n_units; done += p.units_per_stage) {
    if constexpr (is_wide<Format>()) {
      if (!fetched_next && stream.is_issued()) {
        if (lane == 0) fetch_next(p, b.block * b.n_warps + warp, b.n_blocks * b.n_warps);
        fetched_next = true;
      }
    }
    const uint8_t* unit = stream.acquire();
    const uint32_t n = min(p.units_per_stage, b.n_units - done);
    for (uint32_t i = 0; i < n; ++i, unit += Format::kUnitBytes) {
      accumulator.add(unit, in, u, lane);
      if (++u == p.n_units || done + i + 1 == b.n_units) {
        accumulator.finish_all(lane, [&](uint32_t t, uint32_t row, float y) {
          (continued ? s.edges + 4 * (kMaxGemvWarps * t + warp) : s.sums + 4 * (s.n_local * t + group))[row] = y;
        });
        continued = false;
        u = 0;
        ++group;
      }
    }
    stream.release();
  }
  __syncthreads();

  delay_stores();
  if (p.gate_up) {
    store_gate_up<kMostWarps, kTokens>(p, in, s, b.first_group);
  } else {
    store_plain<kMostWarps, kTokens>(p, in, s, b.first_group, residual, copy);
  }
}

// Block `block` of the n_blocks that share the matrix of `p`.
template <class Format, uint32_t kMostWarps, uint32_t kTokens>
__device__ __forceinline__ void run_gemv(const GemvParams& p, uint32_t block, uint32_t n_blocks) {
  extern __shared__ __align__(128) uint8_t shared[];
  if (p.trigger == Trigger::kEntry) trigger_dependents();
  const GemvBlock<Format, kTokens> b(p, shared, block, n_blocks);
  WeightStream stream = b.stream(p.weights, p.n_units, p.n_stages);
  stream.start();
  stage_norm(p, b.in);
  if (p.trigger == Trigger::kAsked) trigger_dependents();
  wait_for_inputs();
  const float residual = first_residual<kTokens>(p, b);
  load_input<Format::kInteger, is_wide<Format>(), kTokens>(p, b.in);
  __syncthreads();
  if constexpr (kTiles<Format, kTokens>) {
    sum_blocks(b.in, p.n_tokens);
    __syncthreads();
  }
  if (p.trigger == Trigger::kInput) trigger_dependents();
  multiply_block<Format, kMostWarps, kTokens>(p, b, stream, residual);
}

// Registers for several blocks of eight warps per SM, although one fills its memory: measured, unrolled or larger loops
// cost more than they bring.
template <class Format, uint32_t kTokens>
__global__ void __launch_bounds__(32 * kGemvWarps<Format>, kTokens > 1              ? 1
                                                           : kGemvWarps<Format> > 8 ? 2
                                                                                    : 4)
    gemv_kernel(const __grid_constant__ GemvParams p) {
  run_gemv<Format, kGemvWarps<Format>, kTokens>(p, blockIdx.x, gridDim.x);
}

// Two matrices with the same input side by side.
template <class First, class Second>
__global__ void __launch_bounds__(32 * kGemvWarps<First>, 2)
    gemv_pair_kernel(const __grid_constant__ GemvPairParams p) {
  if (blockIdx.x < p.n_first_blocks) {
    run_gemv<First, kGemvWarps<First>, 1>(p.first, blockIdx.x, p.n_first_blocks);
  } else {
    run_gemv<Second, kGemvWarps<First>, 1>(p.second, blockIdx.x - p.n_first_blocks, gridDim.x - p.n_first_blocks);
  }
}

}  // namespace stretto::cuda
