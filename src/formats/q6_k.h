// Q6_K: 256 elements in 210 bytes, signed 6-bit codes in groups of 16 with signed 8-bit scales.
//   0..127: ql[128]    128..191: qh[64]    192..207: i8 scales[16]    208: f16 d
// Element e = 128 h + 32 g + l:
//   lo = nibble of ql[64 h + 32 (g & 1) + l], low when g < 2      hi = qh[32 h + l] >> 2 g & 3
//   y  = (d * scales[e / 16]) * ((lo | hi << 4) - 32)
#pragma once

#include "formats/block.h"

namespace stretto {

struct Q6_K {
  static constexpr DType kType = DType::kQ6_K;
  static constexpr uint32_t kBlockElements = 256, kBlockBytes = 210, kGroup = 16;
  static constexpr bool kHasMin = false;
  struct Block {
    uint8_t ql[128];
    uint8_t qh[64];
    int8_t scales[16];
    uint8_t d[2];
  };
  static_assert(sizeof(Block) == kBlockBytes && alignof(Block) == 1);

  static void codes(const Block& b, int8_t* c) {
    for (int h = 0; h < 2; ++h)
      for (int g = 0; g < 4; ++g)
        for (int l = 0; l < 32; ++l) {
          const int low = b.ql[64 * h + 32 * (g & 1) + l] >> (g < 2 ? 0 : 4) & 15;
          const int high = b.qh[32 * h + l] >> 2 * g & 3;
          c[128 * h + 32 * g + l] = static_cast<int8_t>((low | high << 4) - 32);
        }
  }
  static void scales(const Block& b, float* d, float*) {
    const float scale = load_f16(b.d);
    for (int j = 0; j < 16; ++j) d[j] = scale * static_cast<float>(b.scales[j]);
  }
  static void decode(const Block& b, float* y) { decode_groups<Q6_K>(b, y); }
};

}  // namespace stretto
