// Q5_0: 32 elements in 22 bytes, symmetric 5-bit; bit e of qh is the fifth bit of element e.
//   0: f16 d    2..5: u32 qh    6..21: qs[16]      y = (q - 16) * d
#pragma once

#include "formats/block.h"

namespace stretto {

struct Q5_0 {
  static constexpr DType kType = DType::kQ5_0;
  static constexpr uint32_t kBlockElements = 32, kBlockBytes = 22, kGroup = 32;
  static constexpr bool kHasMin = false;
  struct Block {
    uint8_t d[2];
    uint8_t qh[4];
    uint8_t qs[16];
  };
  static_assert(sizeof(Block) == kBlockBytes && alignof(Block) == 1);

  static void codes(const Block& b, int8_t* c) {
    const uint32_t qh = load_u32(b.qh);
    split_nibbles_16(b.qs, c);
    for (int e = 0; e < 32; ++e) c[e] = static_cast<int8_t>(c[e] + 16 * static_cast<int>(qh >> e & 1) - 16);
  }
  static void scales(const Block& b, float* d, float*) { *d = load_f16(b.d); }
  static void decode(const Block& b, float* y) { decode_groups<Q5_0>(b, y); }

  // The signed extreme maps exactly to code 0 (-16); a zero block stores d = -0 and codes 16.
  static void encode(const float* x, Block& b) {
    const float d = signed_max(x, 32) / -16;
    const float inverse = d != 0 ? 1 / d : 0;
    store_u16(b.d, f32_to_f16(d));
    uint32_t qh = 0;
    for (int j = 0; j < 16; ++j) {
      const int low = clamp_to_int(x[j] * inverse + 16.5f, 0, 31);
      const int high = clamp_to_int(x[j + 16] * inverse + 16.5f, 0, 31);
      b.qs[j] = static_cast<uint8_t>((low & 15) | (high & 15) << 4);
      qh |= static_cast<uint32_t>(low >> 4) << j | static_cast<uint32_t>(high >> 4) << (j + 16);
    }
    for (int i = 0; i < 4; ++i) b.qh[i] = static_cast<uint8_t>(qh >> 8 * i);
  }
};

}  // namespace stretto
