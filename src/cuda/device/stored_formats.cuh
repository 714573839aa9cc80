// Formats that are multiplied from their stored blocks: correct and without a byte more than stored, but read from
// shared memory byte by byte. A unit is four rows' runs of 512 columns one after the other, as they lie in the file
// (formats/ has the block layouts).
#pragma once

#include <tuple>

#include "cuda/device/formats.cuh"

namespace stretto::cuda {

STRETTO_HD uint32_t bytes2(const uint8_t* p) { return p[0] | static_cast<uint32_t>(p[1]) << 8; }
STRETTO_HD uint32_t bytes4(const uint8_t* p) { return bytes2(p) | bytes2(p + 2) << 16; }

// Bit i of `bits` to byte i, i < 4.
STRETTO_HD uint32_t spread_bits(uint32_t bits) {
  return (bits & 1) | (bits & 2) << 7 | (bits & 4) << 14 | (bits & 8) << 21;
}

// Four nibbles, one in the low half of each byte, through a table of 16 signed bytes.
STRETTO_HD int32_t look_up(uint32_t nibbles, uint64_t low, uint64_t high) {
  uint32_t out = 0;
#pragma unroll
  for (int b = 0; b < 4; ++b) {
    const uint32_t n = nibbles >> 8 * b & 15;
    out |= static_cast<uint32_t>((n < 8 ? low : high) >> 8 * (n % 8) & 255) << 8 * b;
  }
  return static_cast<int32_t>(out);
}
// -127, -104, -83, -65, -49, -35, -22, -10 | 1, 13, 25, 38, 53, 69, 89, 113
constexpr uint64_t kIQ4Low = 0xf6eaddcfbfad9881, kIQ4High = 0x7159453526190d01;
// 0, 1, 2, 3, 4, 6, 8, 12 | 0, -1, -2, -3, -4, -6, -8, -12
constexpr uint64_t kFP4Low = 0x0c08060403020100, kFP4High = 0xf4f8fafcfdfeff00;

// `lane16(run, lane, c)` reads the lane's 16 columns of one row's run.
template <class Blocks, uint32_t kBlockCols, uint32_t kBlockBytes>
struct StoredUnit : IntegerUnit {
  static constexpr uint32_t kRunBytes = 512 / kBlockCols * kBlockBytes;
  static constexpr uint32_t kUnitBytes = kUnitRows * kRunBytes;
  static_assert(kUnitBytes % 16 == 0);
  STRETTO_HD static void rows(const uint8_t* unit, uint32_t lane, Codes (&c)[4]) {
#pragma unroll
    for (int r = 0; r < 4; ++r) Blocks::lane16(unit + r * kRunBytes, lane, c[r]);
  }
  STRETTO_HD static const uint8_t* block(const uint8_t* run, uint32_t lane) {
    return run + 16 * lane / kBlockCols * kBlockBytes;
  }
};

// The nibbles of half a block of 32 (low ones first), and bit e of `fifth` above the nibble of element e.
STRETTO_HD void split_nibbles(const uint8_t* qs, uint32_t half, uint32_t fifth, Codes& c) {
#pragma unroll
  for (int j = 0; j < 4; ++j)
    c.q[j] = static_cast<int32_t>((bytes4(qs + 4 * j) >> 4 * half & 0x0f0f0f0f) |
                                  spread_bits(fifth >> (16 * half + 4 * j) & 15) << 4);
}

struct StoredQ4_1 : StoredUnit<StoredQ4_1, 32, 20> {
  static constexpr DType kType = DType::kQ4_1;
  static constexpr bool kHasMin = true;
  STRETTO_HD static void lane16(const uint8_t* run, uint32_t lane, Codes& c) {
    const uint8_t* b = block(run, lane);
    split_nibbles(b + 4, lane % 2, 0, c);
    c.scale = half_at(bytes2(b));
    c.minimum = -half_at(bytes2(b + 2));
  }
};

struct StoredQ5_0 : StoredUnit<StoredQ5_0, 32, 22> {
  static constexpr DType kType = DType::kQ5_0;
  static constexpr int kOffset = 16;
  STRETTO_HD static void lane16(const uint8_t* run, uint32_t lane, Codes& c) {
    const uint8_t* b = block(run, lane);
    split_nibbles(b + 6, lane % 2, bytes4(b + 2), c);
    c.scale = half_at(bytes2(b));
  }
};

struct StoredQ5_1 : StoredUnit<StoredQ5_1, 32, 24> {
  static constexpr DType kType = DType::kQ5_1;
  static constexpr bool kHasMin = true;
  STRETTO_HD static void lane16(const uint8_t* run, uint32_t lane, Codes& c) {
    const uint8_t* b = block(run, lane);
    split_nibbles(b + 8, lane % 2, bytes4(b + 4), c);
    c.scale = half_at(bytes2(b));
    c.minimum = -half_at(bytes2(b + 2));
  }
};

struct StoredIQ4_NL : StoredUnit<StoredIQ4_NL, 32, 18> {
  static constexpr DType kType = DType::kIQ4_NL;
  STRETTO_HD static void lane16(const uint8_t* run, uint32_t lane, Codes& c) {
    const uint8_t* b = block(run, lane);
#pragma unroll
    for (int j = 0; j < 4; ++j) c.q[j] = look_up(bytes4(b + 2 + 4 * j) >> 4 * (lane % 2), kIQ4Low, kIQ4High);
    c.scale = half_at(bytes2(b));
  }
};

struct StoredIQ4_XS : StoredUnit<StoredIQ4_XS, 256, 136> {
  static constexpr DType kType = DType::kIQ4_XS;
  STRETTO_HD static void lane16(const uint8_t* run, uint32_t lane, Codes& c) {
    const uint8_t* b = block(run, lane);
    const uint32_t group = lane % 16 / 2;
    const uint32_t low = b[4 + group / 2] >> 4 * (group % 2) & 15, high = bytes2(b + 2) >> 2 * group & 3;
#pragma unroll
    for (int j = 0; j < 4; ++j)
      c.q[j] = look_up(bytes4(b + 8 + 16 * group + 4 * j) >> 4 * (lane % 2), kIQ4Low, kIQ4High);
    c.scale = half_at(bytes2(b)) * static_cast<float>(static_cast<int>(low | high << 4) - 32);
  }
};

struct StoredMXFP4 : StoredUnit<StoredMXFP4, 32, 17> {
  static constexpr DType kType = DType::kMXFP4;
  STRETTO_HD static void lane16(const uint8_t* run, uint32_t lane, Codes& c) {
    const uint8_t* b = block(run, lane);
#pragma unroll
    for (int j = 0; j < 4; ++j) c.q[j] = look_up(bytes4(b + 1 + 4 * j) >> 4 * (lane % 2), kFP4Low, kFP4High);
    const uint32_t e = b[0];
    c.scale = ConvertBF16::bits(e >= 2 ? (e - 1) << 23 : 0x00200000u << e);
  }
};

// Columns 16 lane .. of a block of 256 in the layout of Q2_K and Q3_K: byte 32 (e / 128) + e % 32, bits 2 (e % 128 /
// 32).
struct StoredQ2_K : StoredUnit<StoredQ2_K, 256, 84> {
  static constexpr DType kType = DType::kQ2_K;
  static constexpr bool kHasMin = true;
  STRETTO_HD static void lane16(const uint8_t* run, uint32_t lane, Codes& c) {
    const uint8_t* b = block(run, lane);
    const uint32_t k = lane % 16, shift = 2 * (k % 8 / 2);
    const uint8_t* qs = b + 16 + 32 * (k / 8) + 16 * (k % 2);
#pragma unroll
    for (int j = 0; j < 4; ++j) c.q[j] = static_cast<int32_t>(bytes4(qs + 4 * j) >> shift & 0x03030303);
    c.scale = half_at(bytes2(b + 80)) * static_cast<float>(b[k] & 15);
    c.minimum = half_at(bytes2(b + 82)) * static_cast<float>(b[k] >> 4);
  }
};

struct StoredQ3_K : StoredUnit<StoredQ3_K, 256, 110> {
  static constexpr DType kType = DType::kQ3_K;
  static constexpr int kOffset = 4;
  STRETTO_HD static void lane16(const uint8_t* run, uint32_t lane, Codes& c) {
    const uint8_t* b = block(run, lane);
    const uint32_t k = lane % 16, shift = 2 * (k % 8 / 2);
    const uint8_t* qs = b + 32 + 32 * (k / 8) + 16 * (k % 2);
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const uint32_t high = bytes4(b + 16 * (k % 2) + 4 * j) >> k / 2 & 0x01010101;
      c.q[j] = static_cast<int32_t>((bytes4(qs + 4 * j) >> shift & 0x03030303) | high << 2);
    }
    const uint32_t low = k < 8 ? b[96 + k] & 15 : b[88 + k] >> 4, high = b[104 + k % 4] >> 2 * (k / 4) & 3;
    c.scale = half_at(bytes2(b + 108)) * static_cast<float>(static_cast<int>(low | high << 4) - 32);
  }
};

// The one list of what the kernels multiply with.
using PackedFormats =
    std::tuple<PackedF32, PackedF16, PackedBF16, PackedQ8_0, PackedQ4_0, PackedQ4_K, PackedQ5_K, PackedQ6_K, StoredQ4_1,
               StoredQ5_0, StoredQ5_1, StoredIQ4_NL, StoredIQ4_XS, StoredMXFP4, StoredQ2_K, StoredQ3_K>;

// f(Format{}) for the format of `type`, which must be in the list; true when it is.
template <size_t I = 0, class F>
bool visit_packed(DType type, F&& f) {
  if constexpr (I < std::tuple_size_v<PackedFormats>) {
    using Format = std::tuple_element_t<I, PackedFormats>;
    if (Format::kType != type) return visit_packed<I + 1>(type, f);
    f(Format{});
    return true;
  } else {
    return false;
  }
}

}  // namespace stretto::cuda
