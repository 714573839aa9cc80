// Q3_K: 256 elements in 110 bytes, signed 3-bit codes in groups of 16 with signed 6-bit scales.
//   0..31: hmask[32]    32..95: qs[64]    96..107: scales[12]    108: f16 d
// Element e = 128 h + 32 g + l, group j = e / 16:
//   q  = (qs[32 h + l] >> 2 g & 3) - (bit e / 32 of hmask[l] ? 0 : 4)
//   lo = j < 8 ? scales[j] & 15 : scales[j - 8] >> 4      hi = scales[8 + j % 4] >> 2 (j / 4) & 3
//   y  = (d * ((lo | hi << 4) - 32)) * q
#pragma once

#include "formats/block.h"

namespace stretto {

struct Q3_K {
  static constexpr DType kType = DType::kQ3_K;
  static constexpr uint32_t kBlockElements = 256, kBlockBytes = 110, kGroup = 16;
  static constexpr bool kHasMin = false;
  struct Block {
    uint8_t hmask[32];
    uint8_t qs[64];
    uint8_t scales[12];
    uint8_t d[2];
  };
  static_assert(sizeof(Block) == kBlockBytes && alignof(Block) == 1);

  static void codes(const Block& b, int8_t* c) {
    for (int h = 0; h < 2; ++h)
      for (int g = 0; g < 4; ++g)
        for (int l = 0; l < 32; ++l) {
          const int high = b.hmask[l] >> (4 * h + g) & 1;
          c[128 * h + 32 * g + l] = static_cast<int8_t>((b.qs[32 * h + l] >> 2 * g & 3) + 4 * high - 4);
        }
  }
  // The 6-bit scale of group j (0..15), biased by 32: -32..31.
  static int group_scale(const Block& b, int j) {
    const int low = j < 8 ? b.scales[j] & 15 : b.scales[j - 8] >> 4;
    const int high = b.scales[8 + j % 4] >> 2 * (j / 4) & 3;
    return (low | high << 4) - 32;
  }
  static void scales(const Block& b, float* d, float*) {
    const float scale = load_f16(b.d);
    for (int j = 0; j < 16; ++j) d[j] = scale * static_cast<float>(group_scale(b, j));
  }
  static void decode(const Block& b, float* y) { decode_groups<Q3_K>(b, y); }
};

}  // namespace stretto
