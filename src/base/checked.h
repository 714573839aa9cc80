// Arithmetic on sizes that come from files: overflow is an answer, never a wrap.
#pragma once

#include <cstdint>
#include <optional>

namespace stretto {

inline std::optional<uint64_t> checked_add(uint64_t a, uint64_t b) {
  uint64_t r;
  if (__builtin_add_overflow(a, b, &r)) return std::nullopt;
  return r;
}

inline std::optional<uint64_t> checked_mul(uint64_t a, uint64_t b) {
  uint64_t r;
  if (__builtin_mul_overflow(a, b, &r)) return std::nullopt;
  return r;
}

// a rounded up to a multiple of `align` (> 0).
inline std::optional<uint64_t> checked_round_up(uint64_t a, uint64_t align) {
  const uint64_t rest = a % align;
  return rest == 0 ? std::optional<uint64_t>(a) : checked_add(a, align - rest);
}

inline constexpr uint64_t round_up(uint64_t a, uint64_t align) { return (a + align - 1) / align * align; }
inline constexpr uint64_t div_up(uint64_t a, uint64_t b) { return (a + b - 1) / b; }

}  // namespace stretto
