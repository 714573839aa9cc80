// BF16: the upper half of a binary32; encoding rounds to nearest even.
#pragma once

#include "formats/block.h"

namespace stretto {

struct BF16 {
  static constexpr DType kType = DType::kBF16;
  static constexpr uint32_t kBlockElements = 1, kBlockBytes = 2;
  struct Block {
    uint8_t bits[2];
  };
  static_assert(sizeof(Block) == kBlockBytes && alignof(Block) == 1);

  static void decode(const Block& b, float* y) { *y = bf16_to_f32(load_u16(b.bits)); }
  static void encode(const float* x, Block& b) { store_u16(b.bits, f32_to_bf16(*x)); }
};

}  // namespace stretto
