// Q4_1: 32 elements in 20 bytes, 4-bit with a minimum.
//   0: f16 d    2: f16 m    4..19: qs[16]      y = q * d + m
#pragma once

#include "formats/block.h"

namespace stretto {

struct Q4_1 {
  static constexpr DType kType = DType::kQ4_1;
  static constexpr uint32_t kBlockElements = 32, kBlockBytes = 20, kGroup = 32;
  static constexpr bool kHasMin = true;
  struct Block {
    uint8_t d[2];
    uint8_t m[2];
    uint8_t qs[16];
  };
  static_assert(sizeof(Block) == kBlockBytes && alignof(Block) == 1);

  static void codes(const Block& b, int8_t* c) { split_nibbles_16(b.qs, c); }
  static void scales(const Block& b, float* d, float* m) {
    *d = load_f16(b.d);
    *m = -load_f16(b.m);
  }
  static void decode(const Block& b, float* y) { decode_groups<Q4_1>(b, y); }
};

}  // namespace stretto
