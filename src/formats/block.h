// What the block formats share. A format is a trait struct:
//
//   kType, kBlockElements, kBlockBytes   identity and geometry, equal to base/dtype.h
//   Block                                the packed bytes of one block (alignment 1: blocks lie at odd addresses)
//   decode(block, y)                     y[kBlockElements] in binary32
//   encode(x, block)                     the inverse, where the format has an encoder (has_encoder<F>)
//
// Every quantised format cuts its block into groups of kGroup elements with one scale D and, when kHasMin, one minimum
// M:
//
//   y[e] = D[e / kGroup] * c[e] - M[e / kGroup]        c[e]: a small signed integer
//
// so it only states codes(block, c) and scales(block, D, M); decoding and the integer dot product follow from these.
// Binary32, one rounding per written operation, which reproduces the GGUF specification's order bit for bit.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "base/dtype.h"
#include "base/half.h"

namespace stretto {

// Plain formats (F32, F16, BF16) have no integer codes.
template <class F>
concept GroupedFormat = requires(const typename F::Block& b, int8_t* c, float* d, float* m) {
  F::kGroup;
  F::kHasMin;
  F::codes(b, c);
  F::scales(b, d, m);
};

template <class F>
inline constexpr bool has_encoder = requires(const float* x, typename F::Block& b) {
  F::encode(x, b);
};

template <class F>
const typename F::Block* as_blocks(const std::byte* row) {
  return reinterpret_cast<const typename F::Block*>(row);
}

template <class F>
typename F::Block* as_blocks(std::byte* row) {
  return reinterpret_cast<typename F::Block*>(row);
}

inline uint16_t load_u16(const uint8_t* p) {
  uint16_t v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

inline uint32_t load_u32(const uint8_t* p) {
  uint32_t v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

inline void store_u16(uint8_t* p, uint16_t v) { std::memcpy(p, &v, sizeof v); }
inline float load_f16(const uint8_t* p) { return f16_to_f32(load_u16(p)); }

template <class F>
void decode_groups(const typename F::Block& block, float* y) {
  constexpr uint32_t kGroups = F::kBlockElements / F::kGroup;
  int8_t c[F::kBlockElements];
  float d[kGroups], m[kGroups];
  F::codes(block, c);
  F::scales(block, d, m);
  for (uint32_t g = 0; g < kGroups; ++g) {
    for (uint32_t e = g * F::kGroup; e < (g + 1) * F::kGroup; ++e) {
      const float product = d[g] * static_cast<float>(c[e]);
      if constexpr (F::kHasMin) {
        y[e] = product - m[g];
      } else {
        y[e] = product;
      }
    }
  }
}

// The nibble order of all 32-element formats: byte j holds element j low and element j + 16 high.
inline void split_nibbles_16(const uint8_t* qs, int8_t* c) {
  for (int j = 0; j < 16; ++j) {
    c[j] = static_cast<int8_t>(qs[j] & 15);
    c[j + 16] = static_cast<int8_t>(qs[j] >> 4);
  }
}

// The value of largest magnitude with its sign, the first one on ties; 0 when all are 0. NaNs are passed over.
inline float signed_max(const float* x, int n) {
  float best = 0, best_magnitude = 0;
  for (int i = 0; i < n; ++i) {
    const float magnitude = x[i] < 0 ? -x[i] : x[i];
    if (magnitude > best_magnitude) {
      best_magnitude = magnitude;
      best = x[i];
    }
  }
  return best;
}

// v truncated towards zero and clamped to [lo, hi]; a NaN becomes lo.
inline int clamp_to_int(float v, int lo, int hi) {
  if (!(v > static_cast<float>(lo))) return lo;
  return v < static_cast<float>(hi) ? static_cast<int>(v) : hi;
}

// Codebook of the IQ4 formats.
inline constexpr int8_t kIQ4Values[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

// Twice the E2M1 values; bit 3 is the sign.
inline constexpr int8_t kFP4DoubledValues[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

}  // namespace stretto
