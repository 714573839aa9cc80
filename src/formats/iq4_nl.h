// IQ4_NL: 32 elements in 18 bytes, 4-bit codes into a non-linear codebook.
//   0: f16 d    2..17: qs[16]      y = d * kIQ4Values[q]
#pragma once

#include "formats/block.h"

namespace stretto {

struct IQ4_NL {
  static constexpr DType kType = DType::kIQ4_NL;
  static constexpr uint32_t kBlockElements = 32, kBlockBytes = 18, kGroup = 32;
  static constexpr bool kHasMin = false;
  struct Block {
    uint8_t d[2];
    uint8_t qs[16];
  };
  static_assert(sizeof(Block) == kBlockBytes && alignof(Block) == 1);

  static void codes(const Block& b, int8_t* c) {
    split_nibbles_16(b.qs, c);
    for (int e = 0; e < 32; ++e) c[e] = kIQ4Values[c[e]];
  }
  static void scales(const Block& b, float* d, float*) { *d = load_f16(b.d); }
  static void decode(const Block& b, float* y) { decode_groups<IQ4_NL>(b, y); }
};

}  // namespace stretto
