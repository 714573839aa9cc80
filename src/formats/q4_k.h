// Q4_K: 256 elements in 144 bytes, 4-bit codes in groups of 32 with 6-bit scales and minimums.
//   0: f16 d    2: f16 dmin    4..15: scales[12]    16..143: qs[128]
// Element e, l = e % 32, group j = e / 32:
//   q = nibble of qs[32 (e / 64) + l], low when e % 64 < 32      y = (d * SC(j)) * q - (dmin * MN(j))
#pragma once

#include "formats/block.h"

namespace stretto {

// The eight 6-bit scales and minimums of Q4_K and Q5_K. The 12 bytes, as bits 7:6 | 5:0 and 7:4 | 3:0:
//   S[0..3]  = SC(4+i)[5:4] | SC(i)      S[4..7] = MN(4+i)[5:4] | MN(i)      S[8..11] = MN(4+i)[3:0] | SC(4+i)[3:0]
inline void unpack_6bit_scales(const uint8_t* s, uint8_t* sc, uint8_t* mn) {
  for (int i = 0; i < 4; ++i) {
    sc[i] = s[i] & 63;
    mn[i] = s[4 + i] & 63;
    sc[4 + i] = static_cast<uint8_t>((s[8 + i] & 15) | (s[i] >> 6) << 4);
    mn[4 + i] = static_cast<uint8_t>((s[8 + i] >> 4) | (s[4 + i] >> 6) << 4);
  }
}

// D and M of the eight groups of a block of Q4_K or Q5_K.
template <class Block>
void scales_of_6bits(const Block& b, float* d, float* m) {
  const float scale = load_f16(b.d), minimum = load_f16(b.dmin);
  uint8_t sc[8], mn[8];
  unpack_6bit_scales(b.scales, sc, mn);
  for (int j = 0; j < 8; ++j) {
    d[j] = scale * static_cast<float>(sc[j]);
    m[j] = minimum * static_cast<float>(mn[j]);
  }
}

struct Q4_K {
  static constexpr DType kType = DType::kQ4_K;
  static constexpr uint32_t kBlockElements = 256, kBlockBytes = 144, kGroup = 32;
  static constexpr bool kHasMin = true;
  struct Block {
    uint8_t d[2];
    uint8_t dmin[2];
    uint8_t scales[12];
    uint8_t qs[128];
  };
  static_assert(sizeof(Block) == kBlockBytes && alignof(Block) == 1);

  static void codes(const Block& b, int8_t* c) {
    for (int i = 0; i < 4; ++i)
      for (int l = 0; l < 32; ++l) {
        c[64 * i + l] = static_cast<int8_t>(b.qs[32 * i + l] & 15);
        c[64 * i + 32 + l] = static_cast<int8_t>(b.qs[32 * i + l] >> 4);
      }
  }
  static void scales(const Block& b, float* d, float* m) { scales_of_6bits(b, d, m); }
  static void decode(const Block& b, float* y) { decode_groups<Q4_K>(b, y); }
};

}  // namespace stretto
