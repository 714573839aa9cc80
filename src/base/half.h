// IEEE binary16 and bfloat16 <-> binary32, scalar and exact (GGUF specification, "Plain types").
#pragma once

#include <bit>
#include <cstdint>

namespace stretto {

inline float bf16_to_f32(uint16_t bits) { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); }

// Round to nearest even; a NaN stays a NaN (quiet).
inline uint16_t f32_to_bf16(float value) {
  const uint32_t u = std::bit_cast<uint32_t>(value);
  if ((u & 0x7fffffffu) > 0x7f800000u) return static_cast<uint16_t>((u >> 16) | 0x40);
  return static_cast<uint16_t>((u + 0x7fff + ((u >> 16) & 1)) >> 16);
}

inline float f16_to_f32(uint16_t bits) {
  const uint32_t sign = static_cast<uint32_t>(bits & 0x8000) << 16;
  const uint32_t exponent = (bits >> 10) & 31;
  const uint32_t mantissa = bits & 1023;
  if (exponent == 31) return std::bit_cast<float>(sign | 0x7f800000u | (mantissa << 13));
  if (exponent != 0) return std::bit_cast<float>(sign | ((exponent + 112) << 23) | (mantissa << 13));
  const float magnitude = static_cast<float>(mantissa) * 0x1p-24f;  // subnormal: exact in binary32
  return std::bit_cast<float>(sign | std::bit_cast<uint32_t>(magnitude));
}

// Round to nearest even; overflow -> infinity; NaN -> 0x7e00 with the sign kept.
inline uint16_t f32_to_f16(float value) {
  const uint32_t u = std::bit_cast<uint32_t>(value);
  const auto sign = static_cast<uint16_t>((u >> 16) & 0x8000);
  const uint32_t a = u & 0x7fffffffu;
  if (a > 0x7f800000u) return sign | 0x7e00;
  if (a >= 0x477ff000u) return sign | 0x7c00;  // 65520 and up round to infinity
  if (a < 0x38800000u) {                       // below 2^-14: a subnormal, counted in units of 2^-24
    const float scaled = std::bit_cast<float>(a) * 0x1p24f;
    const float rounded = (scaled + 0x1.8p23f) - 0x1.8p23f;
    return sign | static_cast<uint16_t>(rounded);
  }
  return sign | static_cast<uint16_t>((a + 0xfff + ((a >> 13) & 1) - 0x38000000u) >> 13);
}

}  // namespace stretto
