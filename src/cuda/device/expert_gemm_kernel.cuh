// Pairs of one expert times a run of its rows, on the tensor cores.
//
// Parallel over: a block has kPairTile pairs and kRowTile packed rows (with gate_up half as many outputs); two by four
// warps have 32 pairs and 32 rows each. The columns go in chunks of kChunk: packed units are copied to shared memory
// as they are and decoded there into 16-bit tiles, so that device memory sees the packed bytes once per tile of pairs.
// Copies of the next chunk's activations run beside the decoding, those of the next units beside the products; the
// other block of the SM fills what is left.
// Bytes: per tile of pairs the packed rows and the pairs' activations, from the L2 cache where tiles of one expert
// follow each other.
// Sums: over the columns in order, per pair; which pairs share a tile changes nothing.
// Limits: a folded matrix (cuda/experts.h) has n_in % kChunk == 0, as any integer format that folds.
#pragma once

#include "cuda/device/async_copy.cuh"
#include "cuda/device/dependency.cuh"
#include "cuda/device/mma.cuh"
#include "cuda/device/numeric.cuh"
#include "cuda/device/store.cuh"
#include "cuda/device/stored_formats.cuh"
#include "cuda/expert_gemm.h"

namespace stretto::cuda {

constexpr uint32_t kRowTile = 128, kGemmThreads = 256, kTileGroups = kRowTile / kUnitRows;

template <class Format>
struct ExpertGemmTile {
  using T = std::conditional_t<Format::kType == DType::kF16, __half, __nv_bfloat16>;
  static constexpr uint32_t kLanes = Format::kInteger ? 8 : 32;  // of a unit that make a chunk
  static constexpr uint32_t kChunk = kLanes * Format::kLaneCols;
  static constexpr uint32_t kRowBytes = 2 * kChunk;
  static constexpr uint32_t kPairBytes = kPairTile * kRowBytes, kWeightBytes = kRowTile * kRowBytes;
  // Of a packed unit; 64 bytes more where units would begin in the same bank.
  static constexpr uint32_t kSlotBytes = Format::kUnitBytes + (Format::kUnitBytes % 128 == 0 ? 64 : 0);
  static constexpr uint32_t kSharedBytes = kPairBytes + kWeightBytes + kTileGroups * kSlotBytes;

  // Where 16 bytes (chunk c of a row) lie: rows that are read together lie in different banks, and so do the chunks of
  // a row that decoding writes together.
  __device__ __forceinline__ static uint32_t at(uint32_t row, uint32_t c) {
    return row * kRowBytes + (c ^ row % 8 ^ c / 8 % 2) * 16;
  }
};

__device__ __forceinline__ void copy16(uint32_t to, const void* from) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(from) : "memory");
}
__device__ __forceinline__ void wait_copies() { asm volatile("cp.async.wait_all;" ::: "memory"); }

template <class T>
__device__ __forceinline__ uint32_t pack2(float a, float b) {
  const auto v = Half2<T>::round(a, b);
  return *reinterpret_cast<const uint32_t*>(&v);
}

// 16 codes with their scale as 32 bytes. A code becomes the low byte of 2^23 as a float, which is subtracted again:
// conversions of integers would be the slowest instructions here, at a quarter of the rate.
template <class Format, class T>
__device__ __forceinline__ void decode16(const int32_t* q, float scale, float minimum, uint4 (&out)[2]) {
  uint32_t words[8];
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    constexpr uint32_t kPower = 0x4b000000;
    constexpr float kBias = 8388608 + 128 + Format::kOffset;
    const uint32_t codes = static_cast<uint32_t>(q[j]) ^ 0x80808080u;
    float v[4];
#pragma unroll
    for (int b = 0; b < 4; ++b) {
      v[b] = __uint_as_float(__byte_perm(codes, kPower, 0x7440 + b)) - kBias;
      v[b] = Format::kHasMin ? fmaf(scale, v[b], -minimum) : scale * v[b];
    }
    words[2 * j] = pack2<T>(v[0], v[1]);
    words[2 * j + 1] = pack2<T>(v[2], v[3]);
  }
  out[0] = make_uint4(words[0], words[1], words[2], words[3]);
  out[1] = make_uint4(words[4], words[5], words[6], words[7]);
}

// Lanes first .. first + kLanes - 1 of the unit of group q, as rows row(r) of the tile. Item i of the unit's kLanes.
template <class Format, class Row>
__device__ __forceinline__ void decode_item(const uint8_t* unit, uint32_t first, uint32_t i, uint8_t* tile,
                                            const Row& row) {
  using Tile = ExpertGemmTile<Format>;
  using T = typename Tile::T;
  if constexpr (!Format::kInteger) {
#pragma unroll
    for (uint32_t r = 0; r < kUnitRows; ++r) {
      float v[Format::kLaneCols];
      Format::row(unit, i, r, v);
#pragma unroll
      for (uint32_t k = 0; k < Format::kLaneCols; k += 4) {
        const uint32_t column = Format::column(i, k);
        *reinterpret_cast<uint2*>(tile + Tile::at(row(r), column / 8) + column % 8 * 2) =
            make_uint2(pack2<T>(v[k], v[k + 1]), pack2<T>(v[k + 2], v[k + 3]));
      }
    }
  } else if constexpr (Format::kWide) {
    WideCodes c[2];
    Format::half_rows(unit, 16 * (i / 4) + first / 2 + i % 4, c);
#pragma unroll
    for (uint32_t r = 0; r < 2; ++r) {
      const float scale = c[r].scale_factor * static_cast<float>(c[r].scale);
      const float minimum = c[r].minimum_factor * static_cast<float>(c[r].minimum);
#pragma unroll
      for (uint32_t h = 0; h < 2; ++h) {
        uint4 v[2];
        decode16<Format, T>(c[r].q + 4 * h, scale, minimum, v);
        const uint32_t to = row(i / 4 * 2 + r), chunk = 4 * (i % 4) + 2 * h;
        *reinterpret_cast<uint4*>(tile + Tile::at(to, chunk)) = v[0];
        *reinterpret_cast<uint4*>(tile + Tile::at(to, chunk + 1)) = v[1];
      }
    }
  } else {
    Codes c[4];
    Format::rows(unit, first + i, c);
#pragma unroll
    for (uint32_t r = 0; r < kUnitRows; ++r) {
      uint4 v[2];
      decode16<Format, T>(c[r].q, c[r].scale, c[r].minimum, v);
      *reinterpret_cast<uint4*>(tile + Tile::at(row(r), 2 * i)) = v[0];
      *reinterpret_cast<uint4*>(tile + Tile::at(row(r), 2 * i + 1)) = v[1];
    }
  }
}

// The packed units of a block's rows as they pass through shared memory: slot s holds the unit of group s % n, half s /
// n of the fold, n = kTileGroups / fold.
template <class Format>
struct RawUnits {
  const uint8_t* weights;  // of the expert
  uint8_t* slots;
  uint32_t first_group, n_groups, n_units, n_in, fold;

  __device__ __forceinline__ uint32_t unit_of(uint32_t half, uint32_t chunk) const {
    return (half * n_in + chunk * ExpertGemmTile<Format>::kChunk) / Format::kUnitCols;
  }
  // Starts the copies of what chunk `chunk` needs and the one before it did not.
  __device__ __forceinline__ void fetch(uint32_t chunk) const {
    constexpr uint32_t kPieces = Format::kUnitBytes / 16;
    const uint32_t n = kTileGroups / fold;
    for (uint32_t half = 0; half < fold; ++half) {
      const uint32_t unit = unit_of(half, chunk);
      if (chunk > 0 && unit_of(half, chunk - 1) == unit) continue;
      for (uint32_t i = threadIdx.x; i < n * kPieces; i += kGemmThreads) {
        const uint32_t q = i / kPieces, group = first_group + q;
        if (group >= n_groups) break;
        copy16(shared_address(slots + (half * n + q) * ExpertGemmTile<Format>::kSlotBytes + i % kPieces * 16),
               weights + (uint64_t{group} * n_units + unit) * Format::kUnitBytes + i % kPieces * 16);
      }
    }
  }
  __device__ __forceinline__ void decode(uint32_t chunk, uint8_t* tile) const {
    using Tile = ExpertGemmTile<Format>;
    const uint32_t n = kTileGroups / fold;
    for (uint32_t item = threadIdx.x; item < kTileGroups * Tile::kLanes; item += kGemmThreads) {
      const uint32_t slot = item / Tile::kLanes, q = slot % n, half = slot / n;
      const auto row = [&](uint32_t r) { return fold * (4 * q + r) + half; };
      if (first_group + q >= n_groups) {
        for (uint32_t i = item % Tile::kLanes; i < kUnitRows * Tile::kRowBytes / 16; i += Tile::kLanes)
          *reinterpret_cast<uint4*>(tile + Tile::at(row(i % kUnitRows), i / kUnitRows)) = make_uint4(0, 0, 0, 0);
        continue;
      }
      const uint32_t first =
          Format::kInteger ? (half * n_in + chunk * Tile::kChunk) % Format::kUnitCols / Format::kLaneCols : 0;
      decode_item<Format>(slots + slot * Tile::kSlotBytes, first, item % Tile::kLanes, tile, row);
    }
  }
};

// A warp's 32 pairs times 32 rows: c layout of device/mma.cuh, pairs 16 m + ..., rows 8 n + ...
template <class Format>
__device__ __forceinline__ void multiply_chunk(uint32_t pairs, uint32_t weights, uint32_t first_pair,
                                               uint32_t first_row, float (&acc)[2][4][4]) {
  using Tile = ExpertGemmTile<Format>;
  const uint32_t lane = threadIdx.x % 32;
#pragma unroll
  for (uint32_t k = 0; k < Tile::kChunk / 16; ++k) {
    uint32_t a[2][4], b[2][4];
#pragma unroll
    for (uint32_t m = 0; m < 2; ++m)
      load_tiles(a[m], pairs + Tile::at(first_pair + 16 * m + lane % 16, 2 * k + lane / 16));
#pragma unroll
    for (uint32_t n = 0; n < 2; ++n)
      load_tiles(b[n], weights + Tile::at(first_row + 16 * n + lane / 16 * 8 + lane % 8, 2 * k + lane / 8 % 2));
#pragma unroll
    for (uint32_t m = 0; m < 2; ++m)
#pragma unroll
      for (uint32_t n = 0; n < 4; ++n)
        multiply_add<typename Tile::T>(acc[m][n], a[m], b[n / 2][n % 2 * 2], b[n / 2][n % 2 * 2 + 1]);
  }
}

__device__ __forceinline__ void store_rounded(void* out, bool is_f16, uint64_t at, float2 v, uint32_t low) {
  if (is_f16) {
    store_split(static_cast<__half*>(out) + at, v, low);
  } else {
    store_split(static_cast<__nv_bfloat16*>(out) + at, v, low);
  }
}

// Rows 8 n + 2 i, 2 i + 1 of pair g: with gate_up, an even i has two gates whose ups are the next lane's.
__device__ __forceinline__ void store_pair(const ExpertGemmParams& p, const ExpertTile& tile, uint32_t pair,
                                           uint32_t row, float a, float b) {
  if (p.gate_up) {
    const uint32_t o = row / 2, low = p.split ? p.out_stride : 0;
    if (pair < tile.n && o < p.out_stride)
      store_rounded(p.out, p.out_is_f16, uint64_t{tile.first + pair} * (p.out_stride + low) + o,
                    make_float2(o < p.n_out ? a : 0, o + 1 < p.n_out ? b : 0), low);
    return;
  }
  if (pair >= tile.n || row >= p.n_out) return;
  float* const out = static_cast<float*>(p.out) + uint64_t{p.pairs[tile.first + pair]} * p.n_out + row;
  if (p.n_out % 2 == 0) {
    *reinterpret_cast<float2*>(out) = make_float2(a, b);
  } else {
    out[0] = a;
    if (row + 1 < p.n_out) out[1] = b;
  }
}

__device__ __forceinline__ void store_tile(const ExpertGemmParams& p, const ExpertTile& tile, uint32_t first_pair,
                                           uint32_t first_row, const float (&acc)[2][4][4]) {
  const uint32_t lane = threadIdx.x % 32, g = lane / 4, i = lane % 4;
#pragma unroll
  for (uint32_t m = 0; m < 2; ++m)
#pragma unroll
    for (uint32_t n = 0; n < 4; ++n) {
      const float(&c)[4] = acc[m][n];
      const uint32_t pair = first_pair + 16 * m + g, row = first_row + 8 * n + 2 * i;
      if (p.gate_up) {
        // Lane i keeps pair g if it is even, else pair g + 8.
        const bool odd = i % 2 != 0;
        const float x0 = __shfl_xor_sync(0xffffffffu, odd ? c[0] : c[2], 1);
        const float x1 = __shfl_xor_sync(0xffffffffu, odd ? c[1] : c[3], 1);
        const float gate0 = odd ? x0 : c[0], gate1 = odd ? x1 : c[1], up0 = odd ? c[2] : x0, up1 = odd ? c[3] : x1;
        store_pair(p, tile, pair + (odd ? 8 : 0), first_row + 8 * n + i / 2 * 4, activate(p.act, gate0) * up0,
                   activate(p.act, gate1) * up1);
      } else {
        store_pair(p, tile, pair, row, c[0], c[1]);
        store_pair(p, tile, pair + 8, row, c[2], c[3]);
      }
    }
}

// Grid: x over runs of rows, y over tiles of pairs.
template <class Format>
__global__ void __launch_bounds__(kGemmThreads, 2) expert_gemm_kernel(const __grid_constant__ ExpertGemmParams p) {
  using Tile = ExpertGemmTile<Format>;
  extern __shared__ __align__(128) uint8_t shared[];
  trigger_dependents();
  wait_for_inputs();
  if (blockIdx.y >= p.tiles[0].n) return;
  const ExpertTile tile = p.tiles[1 + blockIdx.y];
  uint8_t* const weight_tile = shared + Tile::kPairBytes;
  const uint32_t packed_rows = kRowTile / p.fold;
  const RawUnits<Format> raw{p.weights + tile.expert * p.expert_bytes,
                             weight_tile + Tile::kWeightBytes,
                             blockIdx.x * (packed_rows / kUnitRows),
                             p.n_groups,
                             p.n_units,
                             p.n_in,
                             p.fold};
  // A thread copies the same pieces of every chunk: where they are is looked up once.
  constexpr uint32_t kPieces = Tile::kRowBytes / 16, kCopies = kPairTile * kPieces / kGemmThreads;
  const uint8_t* from[kCopies];
#pragma unroll
  for (uint32_t j = 0; j < kCopies; ++j) {
    const uint32_t i = threadIdx.x + j * kGemmThreads, sorted = tile.first + min(i / kPieces, tile.n - 1);
    const uint64_t row = p.gate_up ? p.pairs[sorted] / p.top_k : sorted;
    from[j] = static_cast<const uint8_t*>(p.x) + row * ((p.split ? 4 : 2) * p.x_stride) + i % kPieces * 16;
  }
  const auto fetch_pairs = [&](uint32_t chunk) {
#pragma unroll
    for (uint32_t j = 0; j < kCopies; ++j) {
      const uint32_t i = threadIdx.x + j * kGemmThreads;
      if (i / kPieces < (tile.n + 15) / 16 * 16)
        copy16(shared_address(shared + Tile::at(i / kPieces, i % kPieces)), from[j] + chunk * Tile::kRowBytes);
    }
  };
  const uint32_t warp = threadIdx.x / 32, first_pair = warp / 4 * 32, first_row = warp % 4 * 32;
  const uint32_t n_chunks = p.x_stride / Tile::kChunk;
  float acc[2][4][4] = {};
  raw.fetch(0);
  for (uint32_t chunk = 0; chunk < n_chunks; ++chunk) {
    wait_copies();
    __syncthreads();
    fetch_pairs(chunk);
    raw.decode(chunk, weight_tile);
    wait_copies();
    __syncthreads();
    if (chunk + 1 < n_chunks) raw.fetch(chunk + 1);
    if (first_pair < tile.n)
      multiply_chunk<Format>(shared_address(shared), shared_address(weight_tile), first_pair, first_row, acc);
    if (!p.split) continue;
    __syncthreads();
    fetch_pairs(n_chunks + chunk);  // the second part times the same weights
    wait_copies();
    __syncthreads();
    if (first_pair < tile.n)
      multiply_chunk<Format>(shared_address(shared), shared_address(weight_tile), first_pair, first_row, acc);
  }
  delay_stores();
  store_tile(p, tile, first_pair, blockIdx.x * kRowTile + first_row, acc);
}

}  // namespace stretto::cuda
