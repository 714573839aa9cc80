// Q8_0: 32 elements in 34 bytes, symmetric 8-bit.
//   0: f16 d    2..33: i8 qs[32]      y = qs[e] * d
#pragma once

#include <cmath>

#include "formats/block.h"

namespace stretto {

struct Q8_0 {
  static constexpr DType kType = DType::kQ8_0;
  static constexpr uint32_t kBlockElements = 32, kBlockBytes = 34, kGroup = 32;
  static constexpr bool kHasMin = false;
  struct Block {
    uint8_t d[2];
    int8_t qs[32];
  };
  static_assert(sizeof(Block) == kBlockBytes && alignof(Block) == 1);

  static void codes(const Block& b, int8_t* c) { std::memcpy(c, b.qs, sizeof b.qs); }
  static void scales(const Block& b, float* d, float*) { *d = load_f16(b.d); }
  static void decode(const Block& b, float* y) { decode_groups<Q8_0>(b, y); }

  // d = max|x| / 127; the codes use the unrounded binary32 d, halves away from zero.
  static void encode(const float* x, Block& b) {
    const float d = std::fabs(signed_max(x, 32)) / 127;
    const float inverse = d != 0 ? 1 / d : 0;
    store_u16(b.d, f32_to_f16(d));
    for (int e = 0; e < 32; ++e) b.qs[e] = static_cast<int8_t>(clamp_to_int(std::round(x[e] * inverse), -127, 127));
  }
};

}  // namespace stretto
