// Q5_K: 256 elements in 176 bytes, 5-bit codes in groups of 32 with 6-bit scales and minimums.
//   0: f16 d    2: f16 dmin    4..15: scales[12]    16..47: qh[32]    48..175: qs[128]
// Element e, l = e % 32, group j = e / 32:
//   q = nibble as in Q4_K, plus 16 when bit j of qh[l] is set      y = (d * SC(j)) * q - (dmin * MN(j))
#pragma once

#include "formats/q4_k.h"

namespace stretto {

struct Q5_K {
  static constexpr DType kType = DType::kQ5_K;
  static constexpr uint32_t kBlockElements = 256, kBlockBytes = 176, kGroup = 32;
  static constexpr bool kHasMin = true;
  struct Block {
    uint8_t d[2];
    uint8_t dmin[2];
    uint8_t scales[12];
    uint8_t qh[32];
    uint8_t qs[128];
  };
  static_assert(sizeof(Block) == kBlockBytes && alignof(Block) == 1);

  static void codes(const Block& b, int8_t* c) {
    for (int j = 0; j < 8; ++j)
      for (int l = 0; l < 32; ++l) {
        const int nibble = b.qs[32 * (j / 2) + l] >> 4 * (j % 2) & 15;
        c[32 * j + l] = static_cast<int8_t>(nibble + 16 * (b.qh[l] >> j & 1));
      }
  }
  static void scales(const Block& b, float* d, float* m) { scales_of_6bits(b, d, m); }
  static void decode(const Block& b, float* y) { decode_groups<Q5_K>(b, y); }
};

}  // namespace stretto
