// MXFP4: 32 elements in 17 bytes, E2M1 codes with one E8M0 exponent byte (OCP Microscaling formats).
//   0: u8 e8    1..16: qs[16]      y = E2M1(q) * 2^(e8 - 127) = kFP4DoubledValues[q] * 2^(e8 - 128), exact
// e8 = 0xFF is NaN in the standard; here it is an exponent like any other, whose non-zero values overflow to infinity
// from E2M1 = 1 on.
#pragma once

#include <bit>

#include "formats/block.h"

namespace stretto {

// Half of the E8M0 value: 2^(x - 128). The two smallest are subnormal in binary32.
inline float half_e8m0(uint8_t x) {
  return std::bit_cast<float>(x >= 2 ? static_cast<uint32_t>(x - 1) << 23 : 0x00200000u << x);
}

struct MXFP4 {
  static constexpr DType kType = DType::kMXFP4;
  static constexpr uint32_t kBlockElements = 32, kBlockBytes = 17, kGroup = 32;
  static constexpr bool kHasMin = false;
  struct Block {
    uint8_t e8;
    uint8_t qs[16];
  };
  static_assert(sizeof(Block) == kBlockBytes && alignof(Block) == 1);

  static void codes(const Block& b, int8_t* c) {
    split_nibbles_16(b.qs, c);
    for (int e = 0; e < 32; ++e) c[e] = kFP4DoubledValues[c[e]];
  }
  static void scales(const Block& b, float* d, float*) { *d = half_e8m0(b.e8); }
  static void decode(const Block& b, float* y) { decode_groups<MXFP4>(b, y); }
};

}  // namespace stretto
