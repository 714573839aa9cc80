// What a warp adds up: products of units with one vector or a few, in whole numbers within 16 or 32 columns (__dp4a, or
// the tensor cores in wide_tiles.cuh), in float32 across them, in an order that does not depend on the number of
// vectors.
#pragma once

#include "cuda/device/gemv_input.cuh"
#include "cuda/device/stored_formats.cuh"
#include "cuda/device/wide_tiles.cuh"

namespace stretto::cuda {

template <class Format>
__host__ __device__ constexpr bool is_wide() {
  if constexpr (Format::kInteger) return Format::kWide;
  return false;
}

template <class Format, uint32_t kTokens = 1>
struct GemvAccumulator {
  float sum[kTokens][4] = {};

  // Adds unit number u of the group.
  __device__ __forceinline__ void add(const uint8_t* unit, const GemvInput& in, uint32_t u, uint32_t lane) {
    if constexpr (Format::kInteger) {
      Format::kWide ? add_wide(unit, in, u, lane) : add_narrow(unit, in, u, lane);
    } else {
      add_floats(unit, in, u, lane);
    }
  }

  __device__ __forceinline__ void add_floats(const uint8_t* unit, const GemvInput& in, uint32_t u, uint32_t lane) {
    if constexpr (!Format::kInteger) {
      constexpr uint32_t kQuads = Format::kLaneCols / 4;
      float4 x[kTokens][kQuads];
#pragma unroll
      for (uint32_t t = 0; t < kTokens; ++t)
#pragma unroll
        for (uint32_t i = 0; i < kQuads; ++i)
          x[t][i] = *reinterpret_cast<const float4*>(in.x + t * in.padded + u * Format::kUnitCols + 128 * i + 4 * lane);
#pragma unroll
      for (uint32_t r = 0; r < 4; ++r) {
        float w[Format::kLaneCols];
        Format::row(unit, lane, r, w);
#pragma unroll
        for (uint32_t t = 0; t < kTokens; ++t)
#pragma unroll
          for (uint32_t i = 0; i < kQuads; ++i)
            sum[t][r] +=
                w[4 * i] * x[t][i].x + w[4 * i + 1] * x[t][i].y + (w[4 * i + 2] * x[t][i].z + w[4 * i + 3] * x[t][i].w);
      }
    }
  }

  // 16 columns of four rows.
  __device__ __forceinline__ void add_narrow(const uint8_t* unit, const GemvInput& in, uint32_t u, uint32_t lane) {
    if constexpr (Format::kInteger && !is_wide<Format>()) {
      Codes c[4];
      if constexpr (kTokens > 1) Format::rows(unit, lane, c);
#pragma unroll
      for (uint32_t t = 0; t < kTokens; ++t) {
        const int4 x = *reinterpret_cast<const int4*>(in.q + t * in.stride + u * 512 + 16 * lane);
        const float x_scale = in.scale[t * in.scale_stride + u * 16 + lane / 2];
        int32_t x_sum = 0;
        if constexpr (Format::kOffset != 0 || Format::kHasMin) x_sum = sum_of(x, 0);
        if constexpr (kTokens == 1) Format::rows(unit, lane, c);
#pragma unroll
        for (int r = 0; r < 4; ++r) {
          const int32_t dot = dot_of(c[r].q, x, -Format::kOffset * x_sum);
          float y = c[r].scale * static_cast<float>(dot);
          if constexpr (Format::kHasMin) y -= c[r].minimum * static_cast<float>(x_sum);
          sum[t][r] += x_scale * y;
        }
      }
    }
  }

  // 32 columns of two rows.
  __device__ __forceinline__ void add_wide(const uint8_t* unit, const GemvInput& in, uint32_t u, uint32_t lane) {
    if constexpr (is_wide<Format>()) {
      const uint32_t group = lane % 16;
      WideCodes c[2];
      if constexpr (kTokens > 1) Format::half_rows(unit, lane, c);
#pragma unroll
      for (uint32_t t = 0; t < kTokens; ++t) {
        const auto* const at = reinterpret_cast<const int4*>(in.q + t * in.stride + u * 512);
        const int4 low = at[group], high = at[16 + group];
        const float x_scale = in.scale[t * in.scale_stride + u * 16 + group];
        int32_t x_sum = 0;
        if constexpr (Format::kOffset != 0 || Format::kHasMin) x_sum = sum_of(low, sum_of(high, 0));
        if constexpr (kTokens == 1) Format::half_rows(unit, lane, c);
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          const int32_t dot = dot_of(c[i].q + 4, high, dot_of(c[i].q, low, -Format::kOffset * x_sum));
          // By name: which of two products is fused with their difference must not hang on the kernel (TileHeader).
          float y = __fmul_rn(c[i].scale_factor, static_cast<float>(c[i].scale * dot));
          if constexpr (Format::kHasMin)
            y = __fmaf_rn(-c[i].minimum_factor, static_cast<float>(c[i].minimum * x_sum), y);
          sum[t][i] = __fmaf_rn(x_scale, y, sum[t][i]);
        }
      }
    }
  }

  __device__ __forceinline__ static int32_t dot_of(const int32_t* q, const int4& x, int32_t from) {
    return __dp4a(q[3], x.w, __dp4a(q[2], x.z, __dp4a(q[1], x.y, __dp4a(q[0], x.x, from))));
  }
  __device__ __forceinline__ static int32_t sum_of(const int4& x, int32_t from) {
    constexpr int32_t kOnes = 0x01010101;
    return __dp4a(x.w, kOnes, __dp4a(x.z, kOnes, __dp4a(x.y, kOnes, __dp4a(x.x, kOnes, from))));
  }

  // The sum over the lanes of row lane / 8 % 4 for token t, in all lanes of that row; starts anew.
  __device__ __forceinline__ float finish(uint32_t lane, uint32_t t = 0) {
    const bool upper = (lane & 16) != 0, odd = (lane & 8) != 0;
    float a = sum[t][0], b = sum[t][1];  // wide formats: of rows 2 (lane / 16) and the next, already apart
    if constexpr (!is_wide<Format>()) {
      a = (upper ? sum[t][2] : sum[t][0]) + __shfl_xor_sync(0xffffffffu, upper ? sum[t][0] : sum[t][2], 16);
      b = (upper ? sum[t][3] : sum[t][1]) + __shfl_xor_sync(0xffffffffu, upper ? sum[t][1] : sum[t][3], 16);
    }
    float y = (odd ? b : a) + __shfl_xor_sync(0xffffffffu, odd ? a : b, 8);
#pragma unroll
    for (int mask = 4; mask > 0; mask /= 2) y += __shfl_xor_sync(0xffffffffu, y, mask);
#pragma unroll
    for (float& s : sum[t]) s = 0;
    return y;
  }
  // put(token, row, sum over the columns), each by one lane; starts anew.
  template <class Put>
  __device__ __forceinline__ void finish_all(uint32_t lane, const Put& put) {
#pragma unroll
    for (uint32_t t = 0; t < kTokens; ++t) {
      const float y = finish(lane, t);
      if (lane % 8 == 0) put(t, lane / 8, y);
    }
  }
};

// Whether so many tokens of wide formats are multiplied by wide_tiles.cuh.
__host__ __device__ constexpr bool takes_tiles(uint32_t n_tokens) { return n_tokens > 4; }
template <class Format, uint32_t kTokens>
constexpr bool kTiles = is_wide<Format>() && takes_tiles(kTokens);
template <class Format, uint32_t kTokens, bool = kTiles<Format, kTokens>>
struct SumsOfWarp {
  using Type = GemvAccumulator<Format, kTokens>;
};
template <class Format, uint32_t kTokens>
struct SumsOfWarp<Format, kTokens, true> {
  using Type = TileAccumulator<Format>;
};

}  // namespace stretto::cuda
