// F32: IEEE binary32, stored as is.
#pragma once

#include "formats/block.h"

namespace stretto {

struct F32 {
  static constexpr DType kType = DType::kF32;
  static constexpr uint32_t kBlockElements = 1, kBlockBytes = 4;
  struct Block {
    uint8_t bits[4];
  };
  static_assert(sizeof(Block) == kBlockBytes && alignof(Block) == 1);

  static void decode(const Block& b, float* y) { std::memcpy(y, b.bits, sizeof *y); }
  static void encode(const float* x, Block& b) { std::memcpy(b.bits, x, sizeof *x); }
};

}  // namespace stretto
