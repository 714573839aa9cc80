// F16: IEEE binary16 including subnormals, infinities and NaNs; encoding rounds to nearest even.
#pragma once

#include "formats/block.h"

namespace stretto {

struct F16 {
  static constexpr DType kType = DType::kF16;
  static constexpr uint32_t kBlockElements = 1, kBlockBytes = 2;
  struct Block {
    uint8_t bits[2];
  };
  static_assert(sizeof(Block) == kBlockBytes && alignof(Block) == 1);

  static void decode(const Block& b, float* y) { *y = load_f16(b.bits); }
  static void encode(const float* x, Block& b) { store_u16(b.bits, f32_to_f16(*x)); }
};

}  // namespace stretto
