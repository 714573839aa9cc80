// Q2_K: 256 elements in 84 bytes, 2-bit codes in groups of 16 with 4-bit scales and minimums.
//   0..15: sc[16]    16..79: qs[64]    80: f16 d    82: f16 dmin
// Element e = 128 h + 32 g + l:
//   q = qs[32 h + l] >> 2 g & 3      S = sc[e / 16]      y = (d * (S & 15)) * q - (dmin * (S >> 4))
#pragma once

#include "formats/block.h"

namespace stretto {

struct Q2_K {
  static constexpr DType kType = DType::kQ2_K;
  static constexpr uint32_t kBlockElements = 256, kBlockBytes = 84, kGroup = 16;
  static constexpr bool kHasMin = true;
  struct Block {
    uint8_t sc[16];
    uint8_t qs[64];
    uint8_t d[2];
    uint8_t dmin[2];
  };
  static_assert(sizeof(Block) == kBlockBytes && alignof(Block) == 1);

  static void codes(const Block& b, int8_t* c) {
    for (int h = 0; h < 2; ++h)
      for (int g = 0; g < 4; ++g)
        for (int l = 0; l < 32; ++l) c[128 * h + 32 * g + l] = static_cast<int8_t>(b.qs[32 * h + l] >> 2 * g & 3);
  }
  static void scales(const Block& b, float* d, float* m) {
    const float scale = load_f16(b.d), minimum = load_f16(b.dmin);
    for (int k = 0; k < 16; ++k) {
      d[k] = scale * static_cast<float>(b.sc[k] & 15);
      m[k] = minimum * static_cast<float>(b.sc[k] >> 4);
    }
  }
  static void decode(const Block& b, float* y) { decode_groups<Q2_K>(b, y); }
};

}  // namespace stretto
