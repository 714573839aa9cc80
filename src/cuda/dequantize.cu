// Decoding of packed weights: a warp per unit. Bytes: the packed weights once in, the decoded ones once out, both in
// whole sectors of 32 bytes. Limits: none beyond those of the formats.
#include "cuda/dequantize.h"

#include "cuda/device/dependency.cuh"
#include "cuda/device/mma.cuh"
#include "cuda/device/stored_formats.cuh"

namespace stretto::cuda {
namespace {

constexpr uint32_t kThreads = 256, kWarps = kThreads / 32;

__device__ __forceinline__ uint32_t bf16_pair(float a, float b) {
  const auto pair = Half2<__nv_bfloat16>::round(a, b);
  return *reinterpret_cast<const uint32_t*>(&pair);
}

// Sixteen values of a row in BF16, in two halves of eight columns.
template <class Format>
__device__ __forceinline__ void round_codes(const Codes& c, uint4 (&halves)[2]) {
  uint32_t words[8];
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    float v[2];
#pragma unroll
    for (int k = 0; k < 2; ++k) {
      const int code = static_cast<int8_t>(c.q[i / 2] >> 8 * (2 * (i % 2) + k)) - Format::kOffset;
      v[k] = c.scale * static_cast<float>(code);
      if constexpr (Format::kHasMin) v[k] -= c.minimum;
    }
    words[i] = bf16_pair(v[0], v[1]);
  }
  halves[0] = make_uint4(words[0], words[1], words[2], words[3]);
  halves[1] = make_uint4(words[4], words[5], words[6], words[7]);
}

// The lane's two halves into `row` at column 16 lane. Neighbours swap halves, so that each store of a pair of lanes
// fills a sector.
__device__ __forceinline__ void store_halves(__nv_bfloat16* row, uint32_t n_columns, const uint4 (&halves)[2],
                                             uint32_t lane) {
  const bool odd = lane % 2 != 0;
  uint4 swapped = odd ? halves[0] : halves[1];
  swapped.x = __shfl_xor_sync(0xffffffffu, swapped.x, 1);
  swapped.y = __shfl_xor_sync(0xffffffffu, swapped.y, 1);
  swapped.z = __shfl_xor_sync(0xffffffffu, swapped.z, 1);
  swapped.w = __shfl_xor_sync(0xffffffffu, swapped.w, 1);
  const uint32_t column = lane / 2 * 32 + (odd ? 8 : 0);
  if (column < n_columns) *reinterpret_cast<uint4*>(row + column) = odd ? swapped : halves[0];
  if (column + 16 < n_columns) *reinterpret_cast<uint4*>(row + column + 16) = odd ? halves[1] : swapped;
}

template <class Format>
__device__ __forceinline__ void decode_unit(const uint8_t* unit, __nv_bfloat16* out, uint32_t n_columns,
                                            uint32_t stride, uint32_t lane) {
  Codes codes[kUnitRows];
  if constexpr (Format::kWide) {
#pragma unroll
    for (uint32_t r = 0; r < kUnitRows; ++r) Format::row(unit, lane, r, codes[r]);
  } else {
    Format::rows(unit, lane, codes);
  }
#pragma unroll
  for (uint32_t r = 0; r < kUnitRows; ++r) {
    uint4 halves[2];
    round_codes<Format>(codes[r], halves);
    store_halves(out + uint64_t{r} * stride, n_columns, halves, lane);
  }
}

// Units of floats hold a row's columns 4 lane .. 4 lane + 3 of each 128 as they are stored: in 16 bytes per lane two
// runs of four 16-bit values or one of four floats.
template <class Format>
__device__ __forceinline__ void copy_unit(const uint8_t* unit, uint8_t* out, uint32_t n_columns, uint32_t stride,
                                          uint32_t lane) {
  constexpr uint32_t kBytes = 512 / Format::kUnitCols;  // of an element, times 256 / 128: 2 or 4
#pragma unroll
  for (uint32_t r = 0; r < kUnitRows; ++r) {
    const uint4 w = load_as<uint4>(unit + 512 * r + 16 * lane);
    uint8_t* row = out + uint64_t{r} * stride * kBytes;
    if constexpr (kBytes == 4) {
      if (4 * lane < n_columns) *reinterpret_cast<uint4*>(row + 16 * lane) = w;
    } else {
      if (4 * lane < n_columns) *reinterpret_cast<uint2*>(row + 8 * lane) = make_uint2(w.x, w.y);
      if (128 + 4 * lane < n_columns) *reinterpret_cast<uint2*>(row + 256 + 8 * lane) = make_uint2(w.z, w.w);
    }
  }
}

template <class Format>
__global__ void __launch_bounds__(kThreads) dequantize_kernel(DequantizeParams p) {
  trigger_dependents();
  wait_for_inputs();  // readers of what was decoded last
  const uint32_t lane = threadIdx.x % 32;
  const uint64_t n = uint64_t{p.n_groups} * p.n_units;
  for (uint64_t i = uint64_t{blockIdx.x} * kWarps + threadIdx.x / 32; i < n; i += uint64_t{gridDim.x} * kWarps) {
    const uint8_t* unit = p.groups + i * Format::kUnitBytes;
    const uint64_t group = i / p.n_units;
    const uint32_t first = static_cast<uint32_t>(i % p.n_units) * Format::kUnitCols;
    const uint64_t at = group * kUnitRows * p.stride + first;
    if constexpr (Format::kInteger) {
      decode_unit<Format>(unit, static_cast<__nv_bfloat16*>(p.out) + at, p.stride - first, p.stride, lane);
    } else {
      constexpr uint32_t kBytes = 512 / Format::kUnitCols;
      copy_unit<Format>(unit, static_cast<uint8_t*>(p.out) + at * kBytes, p.stride - first, p.stride, lane);
    }
  }
}

}  // namespace

void launch_dequantize(Queue& queue, const PackedShape& shape, DequantizeParams params) {
  constexpr uint64_t kMaxBlocks = 1 << 16;
  params.n_units = static_cast<uint32_t>(shape.n_units());
  const uint64_t blocks = (uint64_t{params.n_groups} * params.n_units + kWarps - 1) / kWarps;
  const dim3 grid(static_cast<uint32_t>(blocks < kMaxBlocks ? blocks : kMaxBlocks));
  visit_packed(shape.type, [&](auto format) {
    launch_kernel(queue, &dequantize_kernel<decltype(format)>, grid, kThreads, 0, params);
  });
}

}  // namespace stretto::cuda
