// Products of packed units with up to eight vectors on the tensor cores, for formats with one scale per 32 columns.
//
// A unit has 4 rows and 16 groups of 32 columns. Multiplication j of a unit (multiply_add_bytes) takes groups j and
// j + 8 of everything:
//   a, row t: the codes of token t in group j; row 8 + t: in group j + 8
//   b, column n: those of weight row n % 4 in group j + 8 (n / 4)
// Half of the result are sums within one group: lane (g, i) has those of token g with rows 2 (i % 2) and the next, in
// group j + 8 (i / 2). The other half mixes groups and is dropped.
// Sums: whole numbers within a group, exact in any order; in float32 over the units per token, row and group, as the
// lanes of GemvAccumulator do; then over the groups as GemvAccumulator::finish() adds lanes. So a token has the bits
// that it has alone.
#pragma once

#include "cuda/device/formats.cuh"
#include "cuda/device/gemv_input.cuh"
#include "cuda/device/mma.cuh"

namespace stretto::cuda {

inline constexpr uint32_t kTileGroups = 8;  // of a lane

// (float) of byte k of `word`: conversions run at a quarter of the rate of sums.
__device__ __forceinline__ float float_of_byte(uint32_t word, uint32_t k) {
  constexpr uint32_t kWhole = 0x4b000000;  // 2^23
  return __fadd_rn(__uint_as_float(__byte_perm(word, kWhole, 0x7540 + k)), -8388608.0F);
}

// Scales and minimums of one row in eight groups. value(j, dot, x_sum) is what GemvAccumulator makes of the sum of
// codes times codes and the sum of the vector's codes in group j: whole numbers below 2^24, exact as floats and so in
// any order, and one rounding for each of the operations that has one there.
template <class Format>
struct TileHeader;

template <>
struct TileHeader<PackedQ4_0> {
  uint32_t words[4];

  __device__ __forceinline__ TileHeader(const uint8_t* unit, uint32_t row, uint32_t half) {
    const uint4 w = load_as<uint4>(unit + 1024 + 32 * row + 16 * half);
    words[0] = w.x, words[1] = w.y, words[2] = w.z, words[3] = w.w;
  }
  __device__ __forceinline__ float value(uint32_t j, float dot, float x_sum) const {
    return __fmul_rn(half_at(words[j / 2] >> 16 * (j % 2)), __fmaf_rn(-PackedQ4_0::kOffset, x_sum, dot));
  }
};

// read_scales_6bit() of eight groups at once.
template <uint32_t kAt>
struct TileHeader6Bit {
  uint32_t scales[2], minimums[2];  // bytes
  float factor, minimum_factor;

  __device__ __forceinline__ TileHeader6Bit(const uint8_t* unit, uint32_t row, uint32_t half) {
    const uint4 h = load_as<uint4>(unit + kAt + 16 * (4 * half + row));
    factor = half_at(h.x);
    minimum_factor = half_at(h.x >> 16);
    scales[0] = h.y & 0x3f3f3f3f;
    scales[1] = h.z & 0x3f3f3f3f;
    minimums[0] = (h.y >> 2 & 0x30303030) | bytes_of_nibbles(h.w & 0xffff);
    minimums[1] = (h.z >> 2 & 0x30303030) | bytes_of_nibbles(h.w >> 16);
  }
  __device__ __forceinline__ float value(uint32_t j, float dot, float x_sum) const {
    const float y = __fmul_rn(factor, __fmul_rn(float_of_byte(scales[j / 4], j % 4), dot));
    return __fmaf_rn(-minimum_factor, __fmul_rn(float_of_byte(minimums[j / 4], j % 4), x_sum), y);
  }

 private:
  __device__ __forceinline__ static uint32_t bytes_of_nibbles(uint32_t four) {
    const uint32_t pairs = (four | four << 8) & 0x00ff00ff;
    return (pairs | pairs << 4) & 0x0f0f0f0f;
  }
};
template <>
struct TileHeader<PackedQ4_K> : TileHeader6Bit<1024> {
  using TileHeader6Bit::TileHeader6Bit;
};
template <>
struct TileHeader<PackedQ5_K> : TileHeader6Bit<1280> {
  using TileHeader6Bit::TileHeader6Bit;
};

// The codes of b: of column n = lane / 4, in each of its eight groups those four that word lane % 4 of the 4-bit plane
// holds low, and those that it holds high.
template <class Format>
struct TileCodes {
  uint32_t words[kTileGroups];
  uint32_t bits[kTileGroups];  // Q5_K: the fifth bits of the group

  __device__ __forceinline__ TileCodes(const uint8_t* unit, uint32_t lane) {
    // Eight rows of a load lie 128 bytes apart: each column begins with another group, in eight different banks.
    const uint32_t address = shared_address(unit) + 256 * (lane % 4) + 128 * (lane % 8 / 4);
    uint32_t low[4], high[4];
    load_tiles(low, address + 16 * (lane / 8 ^ lane % 8));
    load_tiles(high, address + 16 * ((4 + lane / 8) ^ lane % 8));
#pragma unroll
    for (uint32_t j = 0; j < 4; ++j) words[j] = low[j], words[4 + j] = high[j];
    const uint32_t n = lane / 4;  // words[j] is of group j ^ n
    exchange<1>(n);
    exchange<2>(n);
    exchange<4>(n);
    if constexpr (Format::kType == DType::kQ5_K) {
      const uint8_t* const from = unit + 1024 + 64 * (n % 4) + 32 * (n / 4);
      const uint4 first = load_as<uint4>(from), second = load_as<uint4>(from + 16);
      bits[0] = first.x, bits[1] = first.y, bits[2] = first.z, bits[3] = first.w;
      bits[4] = second.x, bits[5] = second.y, bits[6] = second.z, bits[7] = second.w;
    }
  }
  // Columns 4 i .. 4 i + 3 of group j, or with `upper` those 16 further on; i = lane % 4.
  __device__ __forceinline__ uint32_t part(uint32_t j, uint32_t lane, bool upper) const {
    uint32_t codes = (upper ? words[j] >> 4 : words[j]) & 0x0f0f0f0f;
    if constexpr (Format::kType == DType::kQ5_K) codes |= (bits[j] >> (lane % 4 + (upper ? 4 : 0)) & 0x01010101) << 4;
    return codes;
  }

 private:
  template <uint32_t kBit>
  __device__ __forceinline__ void exchange(uint32_t n) {
    const bool swapped = (n & kBit) != 0;
#pragma unroll
    for (uint32_t j = 0; j < kTileGroups; ++j) {
      if ((j & kBit) != 0) continue;
      const uint32_t a = words[j], b = words[j | kBit];
      words[j] = swapped ? b : a;
      words[j | kBit] = swapped ? a : b;
    }
  }
};

// Takes the place of GemvAccumulator<Format, 8>; the input has its blocks' sums (sum_blocks).
template <class Format>
struct TileAccumulator {
  float sum[kTileGroups][2] = {};

  __device__ __forceinline__ void add(const uint8_t* unit, const GemvInput& in, uint32_t u, uint32_t lane) {
    const TileCodes<Format> codes(unit, lane);
    const uint32_t token = lane / 4, half = lane % 4 / 2, row = 2 * (lane % 2);
    const TileHeader<Format> header[2] = {{unit, row, half}, {unit, row + 1, half}};
    float x_scale[kTileGroups], x_sum[kTileGroups];
    const uint32_t block = token * in.scale_stride + 16 * u + 8 * half;
    read_eight(in.scale + block, x_scale);
    read_eight(in.sum + block, x_sum);
    const uint32_t x = shared_address(in.q) + lane % 8 * in.stride + 512 * u + 128 * (lane / 8 % 2) + 256 * (lane / 16);
#pragma unroll
    for (uint32_t j = 0; j < kTileGroups; ++j) {
      constexpr int32_t kWholeBits = 0x4b400000;  // of kWhole: the low bits of a float above 2^23 are its whole number
      constexpr float kWhole = 1.5F * (1 << 23);
      uint32_t a[4];
      load_tiles(a, x + 16 * j);
      int32_t c[4] = {kWholeBits, kWholeBits, kWholeBits, kWholeBits};
      multiply_add_bytes(c, a, codes.part(j, lane, false), codes.part(j, lane, true));
#pragma unroll
      for (uint32_t r = 0; r < 2; ++r) {
        const float dot = __fadd_rn(__int_as_float(half != 0 ? c[2 + r] : c[r]), -kWhole);
        sum[j][r] = __fmaf_rn(x_scale[j], header[r].value(j, dot, x_sum[j]), sum[j][r]);
      }
    }
  }

  // put(token, row, sum over the columns), each by one lane; starts anew.
  template <class Put>
  __device__ __forceinline__ void finish_all(uint32_t lane, const Put& put) {
    const bool upper = (lane & 2) != 0;
    float y[kTileGroups];
#pragma unroll
    for (uint32_t j = 0; j < kTileGroups; ++j) {
      y[j] = (upper ? sum[j][1] : sum[j][0]) + __shfl_xor_sync(0xffffffffu, upper ? sum[j][0] : sum[j][1], 2);
      sum[j][0] = sum[j][1] = 0;
    }
#pragma unroll
    for (uint32_t step = kTileGroups / 2; step > 0; step /= 2)
#pragma unroll
      for (uint32_t j = 0; j < step; ++j) y[j] += y[j + step];
    put(lane / 4, 2 * (lane % 2) + (upper ? 1 : 0), y[0]);
  }

 private:
  __device__ __forceinline__ static void read_eight(const float* from, float (&to)[kTileGroups]) {
    const float4 first = reinterpret_cast<const float4*>(from)[0], second = reinterpret_cast<const float4*>(from)[1];
    to[0] = first.x, to[1] = first.y, to[2] = first.z, to[3] = first.w;
    to[4] = second.x, to[5] = second.y, to[6] = second.z, to[7] = second.w;
  }
};

// The sums of the codes of every block of n_tokens vectors in wide order, by the whole block, which must synchronise
// before and after.
__device__ __forceinline__ void sum_blocks(const GemvInput& in, uint32_t n_tokens) {
  constexpr int32_t kOnes = 0x01010101;
  const uint32_t n_blocks = in.padded / 32;
  for (uint32_t i = threadIdx.x; i < n_tokens * n_blocks; i += blockDim.x) {
    const uint32_t token = i / n_blocks, b = i - token * n_blocks;
    const auto* const at = reinterpret_cast<const int4*>(in.q + token * in.stride + code_at<true>(32 * b));
    const int4 low = at[0], high = at[16];
    int32_t sum = __dp4a(low.w, kOnes, __dp4a(low.z, kOnes, __dp4a(low.y, kOnes, __dp4a(low.x, kOnes, 0))));
    sum = __dp4a(high.w, kOnes, __dp4a(high.z, kOnes, __dp4a(high.y, kOnes, __dp4a(high.x, kOnes, sum))));
    in.sum[token * in.scale_stride + b] = static_cast<float>(sum);
  }
}

}  // namespace stretto::cuda
