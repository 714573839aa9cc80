// Q4_0: 32 elements in 18 bytes, symmetric 4-bit.
//   0: f16 d    2..17: qs[16]      y = (q - 8) * d
#pragma once

#include "formats/block.h"

namespace stretto {

struct Q4_0 {
  static constexpr DType kType = DType::kQ4_0;
  static constexpr uint32_t kBlockElements = 32, kBlockBytes = 18, kGroup = 32;
  static constexpr bool kHasMin = false;
  struct Block {
    uint8_t d[2];
    uint8_t qs[16];
  };
  static_assert(sizeof(Block) == kBlockBytes && alignof(Block) == 1);

  static void codes(const Block& b, int8_t* c) {
    split_nibbles_16(b.qs, c);
    for (int e = 0; e < 32; ++e) c[e] = static_cast<int8_t>(c[e] - 8);
  }
  static void scales(const Block& b, float* d, float*) { *d = load_f16(b.d); }
  static void decode(const Block& b, float* y) { decode_groups<Q4_0>(b, y); }

  // The signed extreme maps exactly to code 0 (-8); a zero block stores d = -0 and codes 8.
  static void encode(const float* x, Block& b) {
    const float d = signed_max(x, 32) / -8;
    const float inverse = d != 0 ? 1 / d : 0;
    store_u16(b.d, f32_to_f16(d));
    for (int j = 0; j < 16; ++j) {
      const int low = clamp_to_int(x[j] * inverse + 8.5f, 0, 15);
      const int high = clamp_to_int(x[j + 16] * inverse + 8.5f, 0, 15);
      b.qs[j] = static_cast<uint8_t>(low | high << 4);
    }
  }
};

}  // namespace stretto
