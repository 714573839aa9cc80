// Packed weights (cpu/packed.h) times the operands of many vectors, by the 8-bit tile products of AMX.
//
// A step of packed codes, four elements of sixteen rows, is a row of the right operand of a tile product, and sixteen
// activation rows are its left operand as they lie in memory. For four groups of rows and 256 elements at a time (a
// slab, small enough for the first-level cache) the codes are made signed bytes and the scales floats once; then
// sixteen vectors after the other pass: first all tile products of the slab, one per range of elements with a scale of
// its own, then the scaling of their sums. In turn, not mixed: beside tile instructions the core issues one 512-bit
// operation per cycle instead of two.
//
// The integer sums are exact and every vector's floats are added in the order of packed_tiles.inc: the same bits.
#include <algorithm>
#include <cstring>

#include "cpu/packed.h"
#include "formats/formats.h"

#if HWY_ARCH_X86

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // the undefined operands in GCC 12's header (GCC bug 105593)
#endif
#include <immintrin.h>

namespace stretto::cpu::amx {
HWY_PUSH_ATTRIBUTES("avx,avx2,fma,f16c,bmi,bmi2,avx512f,avx512vl,avx512bw,avx512dq,amx-tile,amx-int8");

using Ints = __m512i;
using Floats = __m512;

constexpr uint64_t kTokens = 16;               // vectors of a tile
constexpr uint64_t kGroups = 4;                // of rows, whose slabs lie in the first-level cache
constexpr uint64_t kPair = 2;                  // groups that share a load of a tile of vectors
constexpr uint64_t kSlab = 256;                // elements
constexpr uint64_t kBlock = kActivationBlock;  // elements of a tile product: they share their scales
constexpr uint64_t kBlocks = kSlab / kBlock;
constexpr uint64_t kTiles = kManyVectors / kTokens;
constexpr uint64_t kSums = kTokens * kGroupRows;
static_assert(kLeastMany >= kTokens && kManyVectors % kTokens == 0);

// --- Tile registers. Plain assembly: GCC 12's intrinsics do not say that they read memory. ---

struct alignas(64) TileConfig {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t rows[16] = {};
};

// Tile 0 holds activations, 1 and 2 the codes of two groups, 3 and 4 their sums.
void configure_tiles() {
  TileConfig config;
  const auto shape = [&](int tile, uint64_t rows, uint64_t bytes) {
    config.rows[tile] = static_cast<uint8_t>(rows);
    config.row_bytes[tile] = static_cast<uint16_t>(bytes);
  };
  shape(0, kTokens, kBlock);
  for (const int tile : {1, 2}) shape(tile, kBlock / 4, 4 * kGroupRows);
  for (const int tile : {3, 4}) shape(tile, kTokens, 4 * kGroupRows);
  asm volatile("ldtilecfg %0" : : "m"(config));
}
void release_tiles() { asm volatile("tilerelease"); }

template <int kTile>
HWY_INLINE void load_tile(const void* p, uint64_t stride) {
  asm volatile("tileloadd (%0,%1,1), %%tmm%c2" : : "r"(p), "r"(stride), "i"(kTile) : "memory");
}
// sums = activations . codes
template <int kSumTile, int kCodeTile>
HWY_INLINE void multiply_tile() {
  asm volatile("tilezero %%tmm%c0\n\ttdpbssd %%tmm%c1, %%tmm0, %%tmm%c0" : : "i"(kSumTile), "i"(kCodeTile));
}
template <int kTile>
HWY_INLINE void store_tile(int32_t* p) {
  asm volatile("tilestored %%tmm%c2, (%0,%1,1)" : : "r"(p), "r"(4 * kGroupRows), "i"(kTile) : "memory");
}

// --- A slab of one group. ---

struct alignas(64) Slab {
  int8_t codes[kSlab * kGroupRows];  // steps, as packed
  float scales[kBlocks][kGroupRows];
  float minimums[kBlocks][kGroupRows];    // Q4_K, Q5_K
  float d[kGroupRows], dmin[kGroupRows];  // K-quants: of the whole slab
};

HWY_INLINE Ints load(const void* p) { return _mm512_loadu_si512(p); }
HWY_INLINE Ints set_bytes(char v) { return _mm512_set1_epi8(v); }
HWY_INLINE void store_step(Slab& slab, uint64_t step, Ints codes) { _mm512_store_si512(slab.codes + 64 * step, codes); }
HWY_INLINE void store_floats(float* p, Floats v) { _mm512_storeu_ps(p, v); }
HWY_INLINE Floats halves(const uint8_t* p) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
template <int n>
HWY_INLINE Ints shift_right(Ints v) {
  return _mm512_srli_epi16(v, n);
}
HWY_INLINE Ints and_ints(Ints a, Ints b) { return _mm512_and_si512(a, b); }
// a | (b & mask)
HWY_INLINE Ints or_masked(Ints a, Ints b, Ints mask) { return _mm512_ternarylogic_epi32(a, b, mask, 0xf8); }

#include "cpu/packed_codes.inc"

HWY_INLINE void unpack(Q8_0, const uint8_t* p, uint64_t n_blocks, Slab& slab) {
  for (uint64_t b = 0; b < n_blocks; ++b, p += kGroupRows * Q8_0::kBlockBytes) {
    for (uint64_t k = 0; k < 8; ++k)
      store_step(slab, 8 * b + k, _mm512_xor_si512(load(p + 64 * k), set_bytes(static_cast<char>(0x80))));
    store_floats(slab.scales[b], halves(p + 512));
  }
}

// Values 4 i + k of the rows are byte k of the lanes of V[i].
HWY_INLINE void unpack_6bit(Ints v, float (*out)[kGroupRows]) {
  const Ints low = _mm512_set1_epi32(0xff);
  store_floats(out[0], _mm512_cvtepi32_ps(and_ints(v, low)));
  store_floats(out[1], _mm512_cvtepi32_ps(and_ints(_mm512_srli_epi32(v, 8), low)));
  store_floats(out[2], _mm512_cvtepi32_ps(and_ints(_mm512_srli_epi32(v, 16), low)));
  store_floats(out[3], _mm512_cvtepi32_ps(_mm512_srli_epi32(v, 24)));
}

HWY_INLINE void unpack_with_minimums(const uint8_t* p, Slab& slab) {
  const Ints a = load(p), b = load(p + 64), c = load(p + 128), low = set_bytes(0x3f);
  unpack_6bit(and_ints(a, low), slab.scales);
  unpack_6bit(and_ints(b, low), slab.scales + 4);
  unpack_6bit(and_ints(c, low), slab.minimums);
  unpack_6bit(fourth_of_three(a, b, c), slab.minimums + 4);
  store_floats(slab.d, halves(p + 192));
  store_floats(slab.dmin, halves(p + 224));
}

HWY_INLINE void unpack(Q4_K, const uint8_t* p, uint64_t, Slab& slab) {
  unpack_with_minimums(p, slab);
  for (uint64_t i = 0; i < 32; ++i) {
    const Ints v = load(p + 256 + 64 * i);
    store_step(slab, 2 * i, and_ints(v, set_bytes(0x0f)));
    store_step(slab, 2 * i + 1, and_ints(shift_right<4>(v), set_bytes(0x0f)));
  }
}

HWY_INLINE void unpack(Q5_K, const uint8_t* p, uint64_t, Slab& slab) {
  unpack_with_minimums(p, slab);
  for (uint64_t b = 0; b < kBlocks; ++b) {
    Ints v[5], last[3];
    for (uint64_t i = 0; i < 5; ++i) {
      v[i] = load(p + 256 + 320 * b + 64 * i);
      store_step(slab, 8 * b + i, own_of_five(v[i]));
    }
    last_of_five(v, last);
    for (uint64_t i = 0; i < 3; ++i) store_step(slab, 8 * b + 5 + i, last[i]);
  }
}

// --- Sums to results, eight vectors at a time: their sums, and pointers to their scales, stay in registers. ---

constexpr uint64_t kAtOnce = 8;

// Of one group; those of a vector and a block are sixteen, one per row.
struct Sums {
  const int32_t* at;
  HWY_INLINE Floats get(uint64_t b, uint64_t t) const {
    return _mm512_cvtepi32_ps(_mm512_load_si512(at + b * kPair * kSums + kGroupRows * t));
  }
};
// Scales of eight vectors from the slab's first block on; their sums lie `to_sums` floats behind.
struct Scales {
  const float* at[kAtOnce];
  uint64_t to_sums;
  HWY_INLINE Floats scale(uint64_t b, uint64_t t) const { return _mm512_set1_ps(at[t][b]); }
  HWY_INLINE Floats sum(uint64_t b, uint64_t t) const { return _mm512_set1_ps(at[t][to_sums + b]); }
};

HWY_INLINE void add_scaled(Q8_0, const Slab& slab, const Sums& sums, const Scales& x, uint64_t n_blocks, Floats* acc) {
  for (uint64_t b = 0; b < n_blocks; ++b) {
    const Floats d = _mm512_load_ps(slab.scales[b]);
    for (uint64_t t = 0; t < kAtOnce; ++t)
      acc[t] = _mm512_fmadd_ps(sums.get(b, t), _mm512_mul_ps(d, x.scale(b, t)), acc[t]);
  }
}

// The sum of a block times its 6-bit scale is below 2^24, so exact.
HWY_INLINE void add_with_minimums(const Slab& slab, const Sums& sums, const Scales& x, Floats* acc) {
  Floats scaled[kAtOnce], below[kAtOnce];
  for (uint64_t t = 0; t < kAtOnce; ++t) scaled[t] = below[t] = _mm512_setzero_ps();
#pragma GCC unroll 1
  for (uint64_t b = 0; b < kBlocks; ++b) {
    const Floats scale = _mm512_load_ps(slab.scales[b]), minimum = _mm512_load_ps(slab.minimums[b]);
    for (uint64_t t = 0; t < kAtOnce; ++t) {
      scaled[t] = _mm512_fmadd_ps(_mm512_mul_ps(sums.get(b, t), scale), x.scale(b, t), scaled[t]);
      below[t] = _mm512_fmadd_ps(minimum, x.sum(b, t), below[t]);
    }
  }
  const Floats d = _mm512_load_ps(slab.d), dmin = _mm512_load_ps(slab.dmin);
  for (uint64_t t = 0; t < kAtOnce; ++t)
    acc[t] = _mm512_fnmadd_ps(dmin, below[t], _mm512_fmadd_ps(d, scaled[t], acc[t]));
}
HWY_INLINE void add_scaled(Q4_K, const Slab& slab, const Sums& sums, const Scales& x, uint64_t, Floats* acc) {
  add_with_minimums(slab, sums, x, acc);
}
HWY_INLINE void add_scaled(Q5_K, const Slab& slab, const Sums& sums, const Scales& x, uint64_t, Floats* acc) {
  add_with_minimums(slab, sums, x, acc);
}

// --- The kernel. ---

// Sixteen neighbouring vectors.
struct Block {
  const std::byte* const* x = nullptr;
  float* const* out = nullptr;
  uint64_t stride = 0;  // bytes from one vector to the next; 0: not the same for all
};

struct Scratch {
  Slab slabs[kGroups];
  alignas(64) int32_t sums[kBlocks][kPair][kSums];
  alignas(64) float results[kTiles][kGroups][kSums];
  alignas(64) std::byte gathered[kTokens * kSlab];
};

Block block_of(const Tile& a, uint64_t first) {
  Block block{.x = a.x + first, .out = a.out + first};
  bool even = block.x[1] > block.x[0];
  for (uint64_t t = 2; t < kTokens; ++t) even = even && block.x[t] - block.x[t - 1] == block.x[1] - block.x[0];
  if (even) block.stride = static_cast<uint64_t>(block.x[1] - block.x[0]);
  return block;
}

// The rows of activations that a slab reads, and the stride from one to the next. (An operand begins with its q.)
struct Activations {
  const std::byte* q;
  uint64_t stride;
};
Activations activations_of(const Block& block, uint64_t element, uint64_t n, std::byte* gathered) {
  if (block.stride != 0) return {block.x[0] + element, block.stride};
  for (uint64_t t = 0; t < kTokens; ++t) std::memcpy(gathered + t * kSlab, block.x[t] + element, n);
  return {gathered, kSlab};
}

// All sums of one or two slabs with a block's vectors.
template <bool kTwo>
HWY_INLINE void multiply_slabs(const Activations& x, const Slab* slabs, uint64_t n_blocks,
                               int32_t (*sums)[kPair][kSums]) {
  for (uint64_t b = 0; b < n_blocks; ++b) {
    const uint64_t codes = b * kBlock * kGroupRows;
    load_tile<0>(x.q + b * kBlock, x.stride);
    load_tile<1>(slabs[0].codes + codes, 4 * kGroupRows);
    multiply_tile<3, 1>();
    if constexpr (kTwo) {
      load_tile<2>(slabs[1].codes + codes, 4 * kGroupRows);
      multiply_tile<4, 2>();
    }
    store_tile<3>(sums[b][0]);
    if constexpr (kTwo) store_tile<4>(sums[b][1]);
  }
}

// Elements first .. first + n - 1 of every row and vector.
struct Slice {
  uint64_t first, n;
  uint64_t scale_at;  // bytes from the beginning of an operand to the scale of the first block
  uint64_t to_sums;   // floats from there to its sum
  uint64_t n_blocks() const { return n / kBlock; }
};

// Adds the scaled sums of a group to its results, of half a block's vectors.
template <class F>
HWY_INLINE void scale_slab(const std::byte* const* vectors, const Slice& slice, const Slab& slab, const int32_t* sums,
                           float* results) {
  Scales x;
  for (uint64_t t = 0; t < kAtOnce; ++t) x.at[t] = reinterpret_cast<const float*>(vectors[t] + slice.scale_at);
  x.to_sums = slice.to_sums;
  Floats acc[kAtOnce];
  for (uint64_t t = 0; t < kAtOnce; ++t)
    acc[t] = slice.first == 0 ? _mm512_setzero_ps() : _mm512_load_ps(results + kGroupRows * t);
  add_scaled(F(), slab, Sums{sums}, x, slice.n_blocks(), acc);
  for (uint64_t t = 0; t < kAtOnce; ++t) _mm512_store_ps(results + kGroupRows * t, acc[t]);
}

// The slabs of n_groups groups with a block's vectors.
template <class F>
HWY_INLINE void add_slabs(const Block& block, const Slice& slice, uint64_t n_groups, float (*results)[kSums],
                          Scratch& s) {
  const Activations x = activations_of(block, slice.first, slice.n, s.gathered);
  for (uint64_t g = 0; g < n_groups; g += kPair) {
    const uint64_t count = std::min(kPair, n_groups - g);
    if (count == kPair) {
      multiply_slabs<true>(x, s.slabs + g, slice.n_blocks(), s.sums);
    } else {
      multiply_slabs<false>(x, s.slabs + g, slice.n_blocks(), s.sums);
    }
    for (uint64_t k = 0; k < count; ++k)
      for (uint64_t t = 0; t < kTokens; t += kAtOnce)
        scale_slab<F>(block.x + t, slice, s.slabs[g + k], s.sums[0][k] + t * kGroupRows,
                      results[g + k] + t * kGroupRows);
  }
}

// Results of n_rows rows of a group.
HWY_INLINE void store_results(const float* results, uint64_t n_rows, uint64_t row, float* const* out) {
  const auto mask = static_cast<__mmask16>(n_rows < kGroupRows ? (1U << n_rows) - 1 : 0xffffU);
  for (uint64_t t = 0; t < kTokens; ++t)
    _mm512_mask_storeu_ps(out[t] + row, mask, _mm512_load_ps(results + kGroupRows * t));
}

// Takes the lines of the results into the cache before they are written: they lie in as many pages as there are
// vectors.
HWY_INLINE void expect_results(uint64_t n_groups, uint64_t row, float* const* out) {
  for (uint64_t t = 0; t < kTokens; ++t)
    for (uint64_t g = 0; g < n_groups; ++g) asm volatile("prefetchw %0" : : "m"(out[t][row + g * kGroupRows]));
}

// n_groups groups of rows from `row` on, all vectors.
template <class F>
void multiply_groups(const Tile& a, uint64_t row, uint64_t n_groups, const Block* blocks, uint64_t n_tiles,
                     Scratch& s) {
  const auto* const group = reinterpret_cast<const uint8_t*>(a.rows + row * a.row_bytes);
  const uint64_t group_bytes = kGroupRows * a.row_bytes;
  const Operand x = operand_view(a.x[0], a.n_in);
  for (uint64_t first = 0; first < a.n_in; first += kSlab) {
    const auto* const scale = reinterpret_cast<const std::byte*>(x.scale + first / kBlock);
    const Slice slice{.first = first,
                      .n = std::min(kSlab, a.n_in - first),
                      .scale_at = static_cast<uint64_t>(scale - a.x[0]),
                      .to_sums = static_cast<uint64_t>(x.sum - x.scale)};
    const uint8_t* const slab = group + first / F::kBlockElements * kGroupRows * F::kBlockBytes;
    for (uint64_t g = 0; g < n_groups; ++g) unpack(F(), slab + g * group_bytes, slice.n_blocks(), s.slabs[g]);
    const bool last = first + slice.n == a.n_in;
    for (uint64_t i = 0; i < n_tiles; ++i) {
      if (last) expect_results(n_groups, row, blocks[i].out);
      add_slabs<F>(blocks[i], slice, n_groups, s.results[i], s);
      for (uint64_t g = 0; last && g < n_groups; ++g)
        store_results(s.results[i][g], a.n_rows - row - g * kGroupRows, row + g * kGroupRows, blocks[i].out);
    }
  }
}

template <class F>
void many_tile(const Tile& a) {
  const auto n = static_cast<uint64_t>(a.n);
  Block blocks[kTiles];
  Scratch scratch;
  // The last block ends with the last vector, and does again what it has of the block before.
  const uint64_t n_tiles = (n + kTokens - 1) / kTokens;
  for (uint64_t i = 0; i < n_tiles; ++i) blocks[i] = block_of(a, std::min(i * kTokens, n - kTokens));
  configure_tiles();
  for (uint64_t row = 0; row < a.n_rows; row += kGroups * kGroupRows) {
    const uint64_t n_groups = std::min(kGroups, (a.n_rows - row + kGroupRows - 1) / kGroupRows);
    multiply_groups<F>(a, row, n_groups, blocks, n_tiles, scratch);
  }
  release_tiles();
}

HWY_POP_ATTRIBUTES
}  // namespace stretto::cpu::amx

namespace stretto::cpu {

TileKernel many_tile_kernel(DType type, const Isa& isa) {
  if (!isa.amx) return nullptr;
  switch (type) {
    case DType::kQ8_0:
      return &amx::many_tile<Q8_0>;
    case DType::kQ4_K:
      return &amx::many_tile<Q4_K>;
    case DType::kQ5_K:
      return &amx::many_tile<Q5_K>;
    default:  // Q6_K has twice the products, one per 16 elements, and was slower than with AVX-512 VNNI
      return nullptr;
  }
}

}  // namespace stretto::cpu

#else

namespace stretto::cpu {

TileKernel many_tile_kernel(DType, const Isa&) { return nullptr; }

}  // namespace stretto::cpu

#endif  // HWY_ARCH_X86
