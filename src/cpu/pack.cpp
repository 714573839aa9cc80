#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "cpu/packed.h"
#include "formats/formats.h"

namespace stretto::cpu {
namespace {

uint8_t* bytes_at(std::byte* p) { return reinterpret_cast<uint8_t*>(p); }

uint32_t word(const void* p) {
  uint32_t v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

void put(uint8_t* p, uint32_t v) { std::memcpy(p, &v, sizeof v); }

void pack_q8_0(const std::byte* const* rows, uint64_t n_in, std::byte* out) {
  const uint64_t n = n_in / Q8_0::kBlockElements;
  for (uint64_t b = 0; b < n; ++b) {
    uint8_t* const codes = bytes_at(out) + b * kGroupRows * Q8_0::kBlockBytes;
    for (uint64_t r = 0; r < kGroupRows; ++r) {
      static constexpr Q8_0::Block kZeros = {};
      const Q8_0::Block& block = rows[r] != nullptr ? as_blocks<Q8_0>(rows[r])[b] : kZeros;
      for (uint64_t k = 0; k < 8; ++k) put(codes + 64 * k + 4 * r, word(block.qs + 4 * k) ^ 0x80808080u);
      std::memcpy(codes + 512 + 2 * r, block.d, 2);
    }
  }
}

// The low four bits of the codes of one row, two steps to a byte.
void put_nibbles(const int8_t* codes, int n_steps, uint8_t* out) {
  for (int i = 0; i < n_steps / 2; ++i)
    put(out + 64 * i, (word(codes + 8 * i) & 0x0f0f0f0fu) | (word(codes + 8 * i + 4) & 0x0f0f0f0fu) << 4);
}

// 32 codes below 32 of one row: of steps 0 .. 4 in the low five bits, of 5, 6 and 7 above them.
void put_5bit(const int8_t* codes, uint8_t* out) {
  const uint32_t c5 = word(codes + 20), c6 = word(codes + 24), c7 = word(codes + 28);
  constexpr uint32_t kOne = 0x01010101u, kTwo = 0x03030303u, kThree = 0x07070707u;
  put(out, word(codes) | (c5 & kThree) << 5);
  put(out + 64, word(codes + 4) | (c5 >> 3 & kTwo) << 6 | (c7 >> 3 & kOne) << 5);
  put(out + 128, word(codes + 8) | (c6 & kThree) << 5);
  put(out + 192, word(codes + 12) | (c6 >> 3 & kTwo) << 6 | (c7 >> 4 & kOne) << 5);
  put(out + 256, word(codes + 16) | (c7 & kThree) << 5);
}

// 16 x 16 values below 64 to three quarters of their bytes.
void put_6bit_scales(const uint8_t* values, uint8_t* out) {
  for (int i = 0; i < 3; ++i)
    for (int k = 0; k < 64; ++k)
      out[64 * i + k] = static_cast<uint8_t>(values[64 * i + k] | (values[192 + k] >> 2 * i & 3) << 6);
}

// Q4_K and Q5_K.
template <class F>
void pack_with_minimums(const std::byte* const* rows, uint64_t n_in, std::byte* out) {
  constexpr bool kFifthBits = F::kBlockBytes == Q5_K::kBlockBytes;
  constexpr uint64_t kRecord = kGroupRows * F::kBlockBytes;
  for (uint64_t b = 0; b < n_in / F::kBlockElements; ++b) {
    uint8_t* const record = bytes_at(out) + b * kRecord;
    uint8_t* const blocks = record + 256;
    uint8_t values[16 * kGroupRows] = {};
    std::memset(record, 0, kRecord);
    for (uint64_t r = 0; r < kGroupRows; ++r) {
      if (rows[r] == nullptr) continue;
      const auto& block = as_blocks<F>(rows[r])[b];
      int8_t codes[256];
      uint8_t sc[8], mn[8];
      F::codes(block, codes);
      unpack_6bit_scales(block.scales, sc, mn);
      if constexpr (!kFifthBits) put_nibbles(codes, 64, blocks + 4 * r);
      for (uint64_t j = 0; j < 8; ++j) {
        const uint64_t at = j / 4 * 64 + 4 * r + j % 4;
        values[at] = sc[j];
        values[128 + at] = mn[j];
        if constexpr (kFifthBits) put_5bit(codes + 32 * j, blocks + 320 * j + 4 * r);
      }
      std::memcpy(record + 192 + 2 * r, block.d, 2);
      std::memcpy(record + 224 + 2 * r, block.dmin, 2);
    }
    put_6bit_scales(values, record);
  }
}

void pack_q6_k(const std::byte* const* rows, uint64_t n_in, std::byte* out) {
  constexpr uint64_t kRecord = kGroupRows * Q6_K::kBlockBytes;
  const uint64_t n = n_in / Q6_K::kBlockElements;
  for (uint64_t b = 0; b < n; ++b) {
    uint8_t* const record = bytes_at(out) + b * kRecord;
    std::memset(record, 0, kRecord);
    for (uint64_t r = 0; r < kGroupRows; ++r) {
      if (rows[r] == nullptr) continue;
      const auto& block = as_blocks<Q6_K>(rows[r])[b];
      int8_t codes[256];
      Q6_K::codes(block, codes);
      for (int8_t& c : codes) c = static_cast<int8_t>(c + 32);
      for (uint64_t g = 0; g < 16; ++g) {
        const uint32_t fourth = word(codes + 16 * g + 12);
        for (uint64_t i = 0; i < 3; ++i)
          put(record + 288 + 192 * g + 64 * i + 4 * r, word(codes + 16 * g + 4 * i) | (fourth >> 2 * i & 0x03030303u)
                                                                                          << 6);
        record[16 * g + r] = static_cast<uint8_t>(block.scales[g]);
      }
      std::memcpy(record + 256 + 2 * r, block.d, 2);
    }
  }
}

}  // namespace

void pack_group(DType type, const std::byte* const* rows, uint64_t n_in, std::byte* out) {
  switch (type) {
    case DType::kQ8_0:
      return pack_q8_0(rows, n_in, out);
    case DType::kQ4_K:
      return pack_with_minimums<Q4_K>(rows, n_in, out);
    case DType::kQ5_K:
      return pack_with_minimums<Q5_K>(rows, n_in, out);
    case DType::kQ6_K:
      return pack_q6_k(rows, n_in, out);
    default:
      CHECK(!"a type with a packed form");
  }
}

}  // namespace stretto::cpu
