// Packing of stored rows into units, on the host.
#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "cuda/packed.h"
#include "formats/formats.h"

namespace stretto::cuda {
namespace {

constexpr uint64_t kUnitCols = 512;  // of the block formats
constexpr uint64_t kLanes = 32;

uint8_t* bytes(std::byte* p) { return reinterpret_cast<uint8_t*>(p); }

// The codes of 256 columns of one row, unsigned.
template <class F>
void unsigned_codes(const typename F::Block* blocks, int offset, uint8_t* c) {
  for (uint32_t b = 0; b < 256 / F::kBlockElements; ++b) {
    int8_t codes[F::kBlockElements];
    F::codes(blocks[b], codes);
    for (uint32_t e = 0; e < F::kBlockElements; ++e)
      c[b * F::kBlockElements + e] = static_cast<uint8_t>(codes[e] + offset);
  }
}

// 256 columns of row r from `first_lane` on into the 4-bit plane.
void put_nibbles(const uint8_t* c, uint64_t r, uint64_t first_lane, uint8_t* plane) {
  for (uint64_t lane = 0; lane < 16; ++lane) {
    uint8_t* to = plane + 512 * (r / 2) + 16 * (first_lane + lane) + 8 * (r % 2);
    const uint8_t* from = c + 16 * lane;
    for (int w = 0; w < 2; ++w)
      for (int b = 0; b < 4; ++b)
        to[4 * w + b] = static_cast<uint8_t>((from[8 * w + b] & 15) | (from[8 * w + 4 + b] & 15) << 4);
  }
}

// 256 columns of row r from `first` on into the plane of the formats with one scale per 32 columns.
void put_wide_nibbles(const uint8_t* c, uint64_t r, uint64_t first, uint8_t* plane) {
  uint8_t* to = plane + 256 * r + first / 2;
  for (uint64_t g = 0; g < 8; ++g)
    for (uint64_t i = 0; i < 16; ++i)
      to[16 * g + i] = static_cast<uint8_t>((c[32 * g + i] & 15) | (c[32 * g + 16 + i] & 15) << 4);
}

void put_scales_6bit(const uint8_t* d, const uint8_t* stored, uint8_t* header) {
  uint8_t scale[8], minimum[8];
  unpack_6bit_scales(stored, scale, minimum);
  uint32_t words[3] = {0, 0, 0};
  for (uint32_t j = 0; j < 8; ++j) {
    words[j / 4] |= static_cast<uint32_t>(scale[j] | minimum[j] >> 4 << 6) << 8 * (j % 4);
    words[2] |= static_cast<uint32_t>(minimum[j] & 15) << 4 * j;
  }
  std::memcpy(header, d, 4);  // d and dmin
  std::memcpy(header + 4, words, sizeof words);
}

// One function per format: row r of the unit, columns first .. first + 255 of it (first is 0 or 256) from stored bytes.
void pack_part(const Q8_0::Block* blocks, uint64_t r, uint64_t first, uint8_t* unit) {
  for (uint64_t b = 0; b < 8; ++b) {
    std::memcpy(unit + 512 * r + first + 32 * b, blocks[b].qs, 32);
    std::memcpy(unit + 2048 + 8 * (first / 32 + b) + 2 * r, blocks[b].d, 2);
  }
}
void pack_part(const Q4_0::Block* blocks, uint64_t r, uint64_t first, uint8_t* unit) {
  uint8_t c[256];
  unsigned_codes<Q4_0>(blocks, 8, c);
  put_wide_nibbles(c, r, first, unit);
  for (uint64_t b = 0; b < 8; ++b) std::memcpy(unit + 1024 + 32 * r + 2 * (first / 32 + b), blocks[b].d, 2);
}
void pack_part(const Q4_K::Block* block, uint64_t r, uint64_t first, uint8_t* unit) {
  uint8_t c[256];
  unsigned_codes<Q4_K>(block, 0, c);
  put_wide_nibbles(c, r, first, unit);
  put_scales_6bit(block->d, block->scales, unit + 1024 + 16 * (4 * (first / 256) + r));
}
void pack_part(const Q5_K::Block* block, uint64_t r, uint64_t first, uint8_t* unit) {
  uint8_t c[256];
  unsigned_codes<Q5_K>(block, 0, c);
  put_wide_nibbles(c, r, first, unit);
  for (uint64_t i = 0; i < 256; ++i) {
    uint8_t* word = unit + 1024 + 64 * r + 4 * ((first + i) / 32);
    word[i % 4] = static_cast<uint8_t>(word[i % 4] | c[i] >> 4 << i % 32 / 4);
  }
  put_scales_6bit(block->d, block->scales, unit + 1280 + 16 * (4 * (first / 256) + r));
}
void pack_part(const Q6_K::Block* block, uint64_t r, uint64_t first, uint8_t* unit) {
  uint8_t c[256];
  unsigned_codes<Q6_K>(block, 32, c);
  put_nibbles(c, r, first / 16, unit);
  for (uint64_t i = 0; i < 256; ++i) {
    uint8_t* word = unit + 1024 + 16 * ((first + i) / 16) + 4 * r;
    word[i % 4] = static_cast<uint8_t>(word[i % 4] | c[i] >> 4 << 2 * (i % 16 / 4));
  }
  for (uint64_t k = 0; k < 16; ++k) unit[1536 + 4 * (first / 16 + k) + r] = static_cast<uint8_t>(block->scales[k]);
  std::memcpy(unit + 1664 + 2 * (4 * (first / 256) + r), block->d, 2);
}

template <class F>
inline constexpr bool has_planes = requires(const typename F::Block* b, uint8_t* unit) {
  pack_part(b, uint64_t{}, uint64_t{}, unit);
};

// Columns first .. first + n - 1 of a row (n <= 512) into row r of a zeroed unit.
template <class F>
void pack_blocks(const std::byte* row, uint64_t first, uint64_t n, uint64_t r, uint8_t* unit) {
  const auto* blocks = as_blocks<F>(row) + first / F::kBlockElements;
  if constexpr (has_planes<F>) {
    for (uint64_t part = 0; part < n; part += 256, blocks += 256 / F::kBlockElements) {
      if (n - part >= 256) {
        pack_part(blocks, r, part, unit);
      } else {  // the end of a row of 32-blocks that is no multiple of 256
        std::vector<typename F::Block> padded(256 / F::kBlockElements);
        std::memset(padded.data(), 0, padded.size() * sizeof padded[0]);
        std::memcpy(padded.data(), blocks, (n - part) / F::kBlockElements * sizeof padded[0]);
        pack_part(padded.data(), r, part, unit);
      }
    }
  } else {
    std::memcpy(unit + r * (kUnitCols / F::kBlockElements) * F::kBlockBytes, blocks,
                n / F::kBlockElements * F::kBlockBytes);
  }
}

// Plain formats: 16 bytes per lane, in runs of 4 columns that lie 128 columns apart.
void pack_plain(const std::byte* row, uint64_t element_bytes, uint64_t first, uint64_t n, uint64_t r, uint8_t* unit) {
  const uint64_t run = 4 * element_bytes;
  for (uint64_t i = 0; i < n; i += 4) {
    const uint64_t lane = i / 4 % kLanes, part = i / 128;
    std::memcpy(unit + 512 * r + 16 * lane + part * run, row + (first + i) * element_bytes,
                std::min<uint64_t>(4, n - i) * element_bytes);
  }
}

}  // namespace

PackedShape packed_shape(DType type, uint64_t n_rows, uint64_t n_in) {
  PackedShape shape{.type = type, .n_rows = n_rows, .n_in = n_in, .unit = unit_shape(type)};
  CHECK(shape.unit.cols > 0);
  return shape;
}

void pack_group(const PackedShape& shape, const std::byte* const* rows, std::byte* out) {
  std::memset(out, 0, shape.group_bytes());
  visit_format(shape.type, [&](auto format) {
    using F = decltype(format);
    for (uint64_t u = 0; u < shape.n_units(); ++u) {
      const uint64_t first = u * shape.unit.cols, n = std::min<uint64_t>(shape.unit.cols, shape.n_in - first);
      uint8_t* const unit = bytes(out) + u * shape.unit.bytes;
      for (uint64_t r = 0; r < kGroupRows; ++r) {
        if (rows[r] == nullptr) continue;
        if constexpr (GroupedFormat<F>) {
          pack_blocks<F>(rows[r], first, n, r, unit);
        } else {
          pack_plain(rows[r], F::kBlockBytes, first, n, r, unit);
        }
      }
    }
  });
}

}  // namespace stretto::cuda
