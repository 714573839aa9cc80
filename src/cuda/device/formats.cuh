// Weight formats as packed units: what a lane of a warp reads.
//
// A unit holds kUnitRows = 4 rows times kUnitCols columns in kUnitBytes, a multiple of 16 (cuda/packed.h packs it). A
// lane owns the same kLaneCols columns of all four rows, column(lane, i) of the unit.
//
// Integer formats state rows(unit, lane, c): per row 16 codes in four words (byte b of word j: column 16 lane + 4 j +
// b) with one scale and one minimum,
//   value = scale * (code - kOffset) - minimum
// Those whose scales hold for 32 columns and cost something to unpack (kWide) state half_rows(unit, lane, c) instead:
// lanes 0 .. 15 own rows 0 and 1, the others rows 2 and 3, each 32 columns from 32 (lane % 16) on; and row(unit, lane,
// r, c) for the 16 columns of a lane in the common order. Float formats state row(unit, lane, r, v): the values
// themselves.
//
// All functions also run on the host, where the tests compare them with formats/.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>

#include "base/dtype.h"

#define STRETTO_HD __host__ __device__ __forceinline__

namespace stretto::cuda {

constexpr uint32_t kUnitRows = 4;

struct Codes {
  int32_t q[4];
  float scale;
  float minimum;
};
// The scale and the minimum of 32 columns are a whole number times a factor.
struct WideCodes {
  int32_t q[8];
  int32_t scale, minimum;
  float scale_factor, minimum_factor;
};

template <class T>
STRETTO_HD T load_as(const uint8_t* p) {
  return *reinterpret_cast<const T*>(p);
}

STRETTO_HD float half_at(uint32_t bits) {
  __half_raw raw;
  raw.x = static_cast<uint16_t>(bits);
  return __half2float(__half(raw));
}

// Integer formats: 16 columns per lane, 512 per unit.
struct IntegerUnit {
  static constexpr bool kInteger = true, kWide = false;
  static constexpr uint32_t kUnitCols = 512, kLaneCols = 16;
  static constexpr int kOffset = 0;
  static constexpr bool kHasMin = false;
  STRETTO_HD static uint32_t column(uint32_t lane, uint32_t i) { return 16 * lane + i; }
};

// Codes at 512 r + 16 lane; scales (binary16, four rows) of block lane / 2 at 2048 + 8 (lane / 2).
struct PackedQ8_0 : IntegerUnit {
  static constexpr DType kType = DType::kQ8_0;
  static constexpr uint32_t kUnitBytes = 2176;
  STRETTO_HD static void rows(const uint8_t* unit, uint32_t lane, Codes (&c)[4]) {
    const uint2 d = load_as<uint2>(unit + 2048 + 8 * (lane / 2));
#pragma unroll
    for (int r = 0; r < 4; ++r) {
      const int4 q = load_as<int4>(unit + 512 * r + 16 * lane);
      c[r] = {{q.x, q.y, q.z, q.w}, half_at((r < 2 ? d.x : d.y) >> 16 * (r % 2)), 0};
    }
  }
};

// The 4-bit plane of the formats with one scale per 32 columns: row r and group g of 32 at 256 r + 16 g; byte b of word
// w holds column 4 w + b low and column 16 + 4 w + b high.
STRETTO_HD void read_wide_nibbles(const uint8_t* plane, uint32_t r, uint32_t group, WideCodes& c) {
  const uint4 w = load_as<uint4>(plane + 256 * r + 16 * group);
  const uint32_t words[4] = {w.x, w.y, w.z, w.w};
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    c.q[i] = static_cast<int32_t>(words[i] & 0x0f0f0f0f);
    c.q[4 + i] = static_cast<int32_t>(words[i] >> 4 & 0x0f0f0f0f);
  }
}

// The half of a group that belongs to `lane` in the common order.
STRETTO_HD void take_half(const WideCodes& wide, uint32_t lane, Codes& c) {
#pragma unroll
  for (int i = 0; i < 4; ++i) c.q[i] = lane % 2 == 0 ? wide.q[i] : wide.q[4 + i];
  c.scale = wide.scale_factor * static_cast<float>(wide.scale);
  c.minimum = wide.minimum_factor * static_cast<float>(wide.minimum);
}

// A wide format states group_row(unit, r, g, c): row r, group g of 32 columns.
template <class Format>
struct WideUnit : IntegerUnit {
  static constexpr bool kWide = true;
  STRETTO_HD static void half_rows(const uint8_t* unit, uint32_t lane, WideCodes (&c)[2]) {
#pragma unroll
    for (uint32_t i = 0; i < 2; ++i) Format::group_row(unit, lane / 16 * 2 + i, lane % 16, c[i]);
  }
  STRETTO_HD static void row(const uint8_t* unit, uint32_t lane, uint32_t r, Codes& c) {
    WideCodes wide;
    Format::group_row(unit, r, lane / 2, wide);
    take_half(wide, lane, c);
  }
};

// Nibbles; scales (binary16) of row r and group g at 1024 + 32 r + 2 g.
struct PackedQ4_0 : WideUnit<PackedQ4_0> {
  static constexpr DType kType = DType::kQ4_0;
  static constexpr uint32_t kUnitBytes = 1152;
  static constexpr int kOffset = 8;
  STRETTO_HD static void group_row(const uint8_t* unit, uint32_t r, uint32_t group, WideCodes& c) {
    read_wide_nibbles(unit, r, group, c);
    c.scale_factor = half_at(load_as<uint16_t>(unit + 1024 + 32 * r + 2 * group));
    c.scale = 1;
    c.minimum_factor = 0;
    c.minimum = 0;
  }
};

// The headers of Q4_K and Q5_K, 16 bytes per row and block of 256 columns, row r of block s at 16 (4 s + r):
//   d, dmin (binary16); eight bytes: scale j and above it the upper two bits of minimum j; the low nibbles of the eight
//   minimums.
STRETTO_HD void read_scales_6bit(const uint8_t* headers, uint32_t r, uint32_t group, WideCodes& c) {
  const uint4 h = load_as<uint4>(headers + 16 * (4 * (group / 8) + r));
  const uint32_t j = group % 8, byte = (j < 4 ? h.y : h.z) >> 8 * (j % 4);
  c.scale = static_cast<int32_t>(byte & 63);
  c.minimum = static_cast<int32_t>((byte >> 2 & 48) | (h.w >> 4 * j & 15));
  c.scale_factor = half_at(h.x);
  c.minimum_factor = half_at(h.x >> 16);
}

// Nibbles, headers.
struct PackedQ4_K : WideUnit<PackedQ4_K> {
  static constexpr DType kType = DType::kQ4_K;
  static constexpr uint32_t kUnitBytes = 1152;
  static constexpr bool kHasMin = true;
  STRETTO_HD static void group_row(const uint8_t* unit, uint32_t r, uint32_t group, WideCodes& c) {
    read_wide_nibbles(unit, r, group, c);
    read_scales_6bit(unit + 1024, r, group, c);
  }
};

// Nibbles; fifth bits of row r and group g at 1024 + 64 r + 4 g: bit w of byte b for column 4 w + b, bit 4 + w for
// column 16 + 4 w + b; headers.
struct PackedQ5_K : WideUnit<PackedQ5_K> {
  static constexpr DType kType = DType::kQ5_K;
  static constexpr uint32_t kUnitBytes = 1408;
  static constexpr bool kHasMin = true;
  STRETTO_HD static void group_row(const uint8_t* unit, uint32_t r, uint32_t group, WideCodes& c) {
    read_wide_nibbles(unit, r, group, c);
    const auto bits = load_as<uint32_t>(unit + 1024 + 64 * r + 4 * group);
#pragma unroll
    for (int i = 0; i < 8; ++i) c.q[i] |= static_cast<int32_t>((bits >> i & 0x01010101) << 4);
    read_scales_6bit(unit + 1280, r, group, c);
  }
};

// The 4-bit plane where scales hold for 16 columns: rows 2 p and 2 p + 1 at 512 p + 16 lane, 8 bytes each; byte b of
// word w holds column 8 w + b low and column 8 w + 4 + b high.
STRETTO_HD void read_nibbles(const uint8_t* plane, uint32_t lane, Codes (&c)[4]) {
#pragma unroll
  for (int p = 0; p < 2; ++p) {
    const uint4 w = load_as<uint4>(plane + 512 * p + 16 * lane);
    const uint32_t words[4] = {w.x, w.y, w.z, w.w};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      c[2 * p + i / 2].q[2 * (i % 2)] = static_cast<int32_t>(words[i] & 0x0f0f0f0f);
      c[2 * p + i / 2].q[2 * (i % 2) + 1] = static_cast<int32_t>(words[i] >> 4 & 0x0f0f0f0f);
    }
  }
}

// Nibbles; bits 5:4 at 1024 + 16 lane, one word per row: column 4 j + b at bit 8 b + 2 j; signed scales of the lane's
// columns, four rows, at 1536 + 4 lane; d (binary16) of row r and block s at 1664 + 2 (4 s + r).
struct PackedQ6_K : IntegerUnit {
  static constexpr DType kType = DType::kQ6_K;
  static constexpr uint32_t kUnitBytes = 1680;
  static constexpr int kOffset = 32;
  STRETTO_HD static void rows(const uint8_t* unit, uint32_t lane, Codes (&c)[4]) {
    read_nibbles(unit, lane, c);
    const uint4 high = load_as<uint4>(unit + 1024 + 16 * lane);
    const uint32_t words[4] = {high.x, high.y, high.z, high.w};
    const char4 scale = load_as<char4>(unit + 1536 + 4 * lane);
    const signed char scales[4] = {scale.x, scale.y, scale.z, scale.w};
    const uint2 d = load_as<uint2>(unit + 1664 + 8 * (lane / 16));
#pragma unroll
    for (int r = 0; r < 4; ++r) {
#pragma unroll
      for (int j = 0; j < 4; ++j) c[r].q[j] |= static_cast<int32_t>((words[r] >> 2 * j & 0x03030303) << 4);
      c[r].scale = half_at((r < 2 ? d.x : d.y) >> 16 * (r % 2)) * static_cast<float>(scales[r]);
    }
  }
};

// Row r at 512 r + 16 lane: columns 4 lane .. 4 lane + 3.
struct PackedF32 {
  static constexpr DType kType = DType::kF32;
  static constexpr bool kInteger = false;
  static constexpr uint32_t kUnitCols = 128, kLaneCols = 4, kUnitBytes = 2048;
  STRETTO_HD static uint32_t column(uint32_t lane, uint32_t i) { return 4 * lane + i; }
  STRETTO_HD static void row(const uint8_t* unit, uint32_t lane, uint32_t r, float* v) {
    const float4 w = load_as<float4>(unit + 512 * r + 16 * lane);
    v[0] = w.x, v[1] = w.y, v[2] = w.z, v[3] = w.w;
  }
};

// Row r at 512 r + 16 lane: columns 4 lane .. 4 lane + 3, then those 128 further on.
template <class Convert>
struct PackedFloat16 {
  static constexpr DType kType = Convert::kType;
  static constexpr bool kInteger = false;
  static constexpr uint32_t kUnitCols = 256, kLaneCols = 8, kUnitBytes = 2048;
  STRETTO_HD static uint32_t column(uint32_t lane, uint32_t i) { return 128 * (i / 4) + 4 * lane + i % 4; }
  STRETTO_HD static void row(const uint8_t* unit, uint32_t lane, uint32_t r, float* v) {
    const uint4 w = load_as<uint4>(unit + 512 * r + 16 * lane);
    const uint32_t words[4] = {w.x, w.y, w.z, w.w};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      v[2 * i] = Convert::low(words[i]);
      v[2 * i + 1] = Convert::high(words[i]);
    }
  }
};

struct ConvertF16 {
  static constexpr DType kType = DType::kF16;
  STRETTO_HD static float low(uint32_t w) { return half_at(w & 0xffff); }
  STRETTO_HD static float high(uint32_t w) { return half_at(w >> 16); }
};
struct ConvertBF16 {
  static constexpr DType kType = DType::kBF16;
  STRETTO_HD static float bits(uint32_t w) {
    float f;
    memcpy(&f, &w, sizeof f);
    return f;
  }
  STRETTO_HD static float low(uint32_t w) { return bits(w << 16); }
  STRETTO_HD static float high(uint32_t w) { return bits(w & 0xffff0000u); }
};
using PackedF16 = PackedFloat16<ConvertF16>;
using PackedBF16 = PackedFloat16<ConvertBF16>;

// The kLaneCols values of row r in float.
template <class Format>
STRETTO_HD void decode_lane(const uint8_t* unit, uint32_t lane, uint32_t r, float* v) {
  if constexpr (Format::kInteger) {
    Codes c;
    if constexpr (Format::kWide) {
      Format::row(unit, lane, r, c);
    } else {
      Codes all[4];
      Format::rows(unit, lane, all);
      c = all[0];
      if (r == 1) c = all[1];
      if (r == 2) c = all[2];
      if (r == 3) c = all[3];
    }
#pragma unroll
    for (int i = 0; i < 16; ++i) {
      const int code = static_cast<int8_t>(c.q[i / 4] >> 8 * (i % 4)) - Format::kOffset;
      v[i] = c.scale * static_cast<float>(code);
      if constexpr (Format::kHasMin) v[i] -= c.minimum;
    }
  } else {
    Format::row(unit, lane, r, v);
  }
}

}  // namespace stretto::cuda
