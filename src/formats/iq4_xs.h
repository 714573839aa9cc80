// IQ4_XS: 256 elements in 136 bytes, the codebook of IQ4_NL in groups of 32 with signed 6-bit scales.
//   0: f16 d    2: u16 scales_h    4..7: scales_l[4]    8..135: qs[128], 16 bytes per group in IQ4_NL order
// Group b = e / 32:
//   ls = (scales_l[b / 2] >> 4 (b & 1) & 15) | (scales_h >> 2 b & 3) << 4      y = (d * (ls - 32)) * kIQ4Values[q]
#pragma once

#include "formats/block.h"

namespace stretto {

struct IQ4_XS {
  static constexpr DType kType = DType::kIQ4_XS;
  static constexpr uint32_t kBlockElements = 256, kBlockBytes = 136, kGroup = 32;
  static constexpr bool kHasMin = false;
  struct Block {
    uint8_t d[2];
    uint8_t scales_h[2];
    uint8_t scales_l[4];
    uint8_t qs[128];
  };
  static_assert(sizeof(Block) == kBlockBytes && alignof(Block) == 1);

  static void codes(const Block& b, int8_t* c) {
    for (int j = 0; j < 8; ++j) split_nibbles_16(b.qs + 16 * j, c + 32 * j);
    for (int e = 0; e < 256; ++e) c[e] = kIQ4Values[c[e]];
  }
  static void scales(const Block& b, float* d, float*) {
    const float scale = load_f16(b.d);
    const int high = load_u16(b.scales_h);
    for (int j = 0; j < 8; ++j) {
      const int ls = (b.scales_l[j / 2] >> 4 * (j & 1) & 15) | (high >> 2 * j & 3) << 4;
      d[j] = scale * static_cast<float>(ls - 32);
    }
  }
  static void decode(const Block& b, float* y) { decode_groups<IQ4_XS>(b, y); }
};

}  // namespace stretto
