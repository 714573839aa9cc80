// F8_E4M3 (OCP 8-bit floating point, "FN"): sign, 4 bits of exponent with bias 7, 3 bits of mantissa; no infinities,
// the magnitude of all ones is NaN, the largest finite value is 448. Encoding saturates and rounds to nearest even.
#pragma once

#include <cmath>

#include "formats/block.h"

namespace stretto {

struct F8_E4M3 {
  static constexpr DType kType = DType::kF8_E4M3;
  static constexpr uint32_t kBlockElements = 1, kBlockBytes = 1;
  static constexpr float kLargest = 448;
  struct Block {
    uint8_t bits;
  };
  static_assert(sizeof(Block) == kBlockBytes && alignof(Block) == 1);

  static void decode(const Block& b, float* y) {
    const uint32_t sign = static_cast<uint32_t>(b.bits & 0x80) << 24, magnitude = b.bits & 0x7f;
    const float subnormal = static_cast<float>(magnitude) * 0x1p-9F;
    uint32_t bits = (magnitude << 20) + (120U << 23);
    if (magnitude < 8) bits = std::bit_cast<uint32_t>(subnormal);
    if (magnitude == 0x7f) bits = 0x7fc00000U;
    *y = std::bit_cast<float>(bits | sign);
  }

  // A NaN becomes 0x7f, as the hardware's conversion does it.
  static void encode(const float* x, Block& b) {
    const uint32_t u = std::bit_cast<uint32_t>(*x), a = u & 0x7fffffffU;
    const auto sign = static_cast<uint8_t>((u >> 24) & 0x80);
    const float magnitude = std::bit_cast<float>(a);
    if (a > 0x7f800000U) {
      b.bits = 0x7f;
    } else if (magnitude >= kLargest) {
      b.bits = sign | 0x7e;
    } else if (magnitude < 0x1p-6F) {  // a subnormal, counted in units of 2^-9
      const float rounded = (magnitude * 0x1p9F + 0x1.8p23F) - 0x1.8p23F;
      b.bits = sign | static_cast<uint8_t>(rounded);
    } else {
      b.bits = sign | static_cast<uint8_t>((a + 0x7ffff + ((a >> 20) & 1) - (120U << 23)) >> 20);
    }
  }
};

}  // namespace stretto
