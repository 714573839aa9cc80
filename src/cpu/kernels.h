// The CPU's inner kernels as function pointers, chosen once for an instruction set.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>

#include "base/dtype.h"
#include "cpu/isa.h"
#include "formats/activation.h"
#include "ops/gated_act.h"

namespace stretto::cpu {

// An activation row (formats/activation.h) and behind it the integer sums that cancel the offset of unsigned codes:
//   offset128[b] = -128 * (sum of q over block b)      offset32[k] = -32 * (sum of q over elements 16 k .. 16 k + 15)
struct Operand {
  const int8_t* q = nullptr;           // [n]
  const float* scale = nullptr;        // [n / 32]
  const float* sum = nullptr;          // [n / 32]
  const int32_t* offset128 = nullptr;  // [n / 32]
  const int32_t* offset32 = nullptr;   // [n / 16]
};
uint64_t operand_bytes(uint64_t n);  // a multiple of 64
Operand operand_view(const std::byte* memory, uint64_t n);
// Fills the offsets of blocks first .. first + count - 1 from their q.
void set_operand_offsets(std::byte* memory, uint64_t n, uint64_t first, uint64_t count);

// Vectors that a tile kernel multiplies with the same weight row while the row's codes are in registers: kernels of
// stored weights up to kTile, those of packed ones (cpu/packed.h) up to kWideTile.
inline constexpr int kTile = 4;
inline constexpr int kWideTile = 24;
// The kernels of many vectors (cpu/packed.h) take so many: from about 32 on they are faster, and 128 of usual widths
// stay in the second-level cache.
inline constexpr uint64_t kLeastMany = 32, kManyVectors = 128;

// Memory that a thread reads in a later op, piece by piece, for a kernel to fetch to the second-level cache meanwhile.
class Later {
 public:
  void clear() { first_ = end_ = 0, bytes_ = 0; }
  // As far as there is room.
  void add(const std::byte* begin, uint64_t bytes) {
    const uint64_t n = std::min(bytes, kMostBytes - bytes_);
    if (n == 0 || end_ == pieces_.size()) return;
    pieces_[end_++] = {begin, n};
    bytes_ += n;
  }
  uint64_t bytes() const { return bytes_; }
  // Where at most `bytes` begin that are to be fetched now; nullptr: nothing is left.
  const std::byte* take(uint64_t bytes) {
    if (bytes_ == 0) return nullptr;
    std::span<const std::byte>& piece = pieces_[first_];
    const std::byte* const begin = piece.data();
    const uint64_t n = std::min<uint64_t>(bytes, piece.size());
    piece = piece.subspan(n);
    bytes_ -= n;
    if (piece.empty()) ++first_;
    return begin;
  }

 private:
  static constexpr uint64_t kMostBytes = 192 << 10;  // weights pass through the same cache before they are read
  std::array<std::span<const std::byte>, 32> pieces_;
  size_t first_ = 0, end_ = 0;
  uint64_t bytes_ = 0;
};

// out[t][r] = rows[r] . x[t]     0 <= r < n_rows, 0 <= t < n <= kTile
// x[t] is float[n_in] for F32, F16 and BF16 weights, else the memory of an operand of n_in values.
// A result depends on its row and its vector only, bit for bit: not on n, nor on which rows are asked for together.
struct Tile {
  const std::byte* rows = nullptr;
  uint64_t row_bytes = 0;
  uint64_t n_rows = 0;
  uint64_t n_in = 0;
  const std::byte* const* x = nullptr;
  float* const* out = nullptr;
  int n = 0;
  const std::byte* next = nullptr;  // what the thread will read after the rows; nullptr: what lies behind them
  Later* later = nullptr;           // fetched beside the rows from later_row on, by kernels that can; may be nullptr
  uint64_t later_row = 0;
  // Where not nullptr: kernels of packed weights stop between two groups of rows, two groups done at least, once it is
  // not 0, and say in n_done how many rows they have done. Others do all.
  const std::atomic<uint32_t>* interrupt = nullptr;
  uint64_t* n_done = nullptr;  // n_rows when the kernel is called
};
using TileKernel = void (*)(const Tile&);

// The kernel for weights of `type`, which must satisfy has_format (CHECKed).
TileKernel tile_kernel(DType type, const Isa& isa);

// The instruction-set-specific parts of tile_kernel; nullptr where a file has none for `type` or `isa`.
TileKernel float_tile_kernel(DType type, const Isa& isa);
TileKernel integer_tile_kernel(DType type, const Isa& isa);
TileKernel x86_integer_tile_kernel(DType type, const Isa& isa);

// Operations on float vectors of n elements. `out` may be an input.
struct VectorKernels {
  // Fills blocks first .. first + count - 1 of the operand of x[n]; its row like quantize_activation_blocks, bit for
  // bit.
  void (*quantize)(const float* x, uint64_t n, std::byte* operand, uint64_t first, uint64_t count);
  // out = x / sqrt(mean(x^2) + eps) * weight; weight may be nullptr (1).
  void (*rms_norm)(const float* x, const float* weight, float eps, uint64_t n, float* out);
  void (*add)(const float* a, const float* b, uint64_t n, float* out);
  void (*gated_act)(Activation act, const float* gate, const float* up, uint64_t n, float* out);
  void (*add_scaled)(float scale, const float* x, uint64_t n, float* out);  // out += scale * x
  void (*scale)(float scale, const float* x, uint64_t n, float* out);       // out = scale * x
  // One head: rotates the pairs (i, i + n_pairs), scales the rest by `rest`; see ops/rope.h. out != x.
  void (*rope)(const float* x, const float* cos, const float* sin, uint64_t n_pairs, uint64_t head_dim, float rest,
               float* out);
};
VectorKernels vector_kernels(const Isa& isa);

// A cache of keys or values lies head by head. Keys, per head: groups of kCacheGroup positions, element by element,
// [n_ctx / 16, head_dim, 16]; values, per head: [n_ctx, cache_width(head_dim)], zeros behind the head's elements. Q8_0
// has signed bytes in the place of the elements, and the scales (binary16) of its blocks of 32 elements behind a group
// of keys, [head_dim / 32, 16], and behind each row of values.
inline constexpr uint64_t kCacheGroup = 16;
constexpr uint64_t cache_width(uint64_t head_dim) { return (head_dim + kCacheGroup - 1) / kCacheGroup * kCacheGroup; }

// Attention of queries over a run of positions is a partial result, partial_width floats per query: acc, top, sum with
//   s[j] = scale * q . k[j]     top = max_j s     p = exp(s - top)     sum = sum_j p     acc[i] = sum_j p[j] * v[j, i]
constexpr uint64_t partial_width(uint64_t head_dim) { return cache_width(head_dim) + 16; }
inline constexpr float kUnseen = -1e30F;  // score of a position outside: its exponential is 0, differences are finite

// The n_heads queries of one token that share a key/value head, over positions begin .. end - 1.
struct Attend {
  const float* q = nullptr;      // [n_heads, head_dim]
  const std::byte* k = nullptr;  // the head's keys and values, from position 0 on
  const std::byte* v = nullptr;
  uint64_t begin = 0;
  uint64_t end = 0;
  uint64_t n_heads = 0;
  uint64_t head_dim = 0;
  float scale = 0;
  float* scores = nullptr;   // scratch [n_heads, scores_stride()]
  float* decoded = nullptr;  // scratch [scores_stride(), cache_width], used by 8-bit caches
  float* result = nullptr;   // [n_heads, partial_width]

  uint64_t base() const { return begin / kCacheGroup * kCacheGroup; }
  uint64_t scores_stride() const { return (end - base() + kCacheGroup - 1) / kCacheGroup * kCacheGroup; }
};

// The same for n_tokens neighbouring tokens. Token t stands at position + t and sees, of begin .. end - 1, positions
// max(0, position + t + 1 - window) .. position + t (window 0: all from 0 on); a token that sees none has top kUnseen.
struct AttendBlock {
  static constexpr uint64_t kKeys = 64;        // positions that are floats at a time
  static constexpr uint64_t kQueryAlign = 16;  // queries are padded to a multiple
  const float* q = nullptr;                    // [n_tokens, .., n_heads, head_dim]
  uint64_t q_stride = 0;                       // floats from one token to the next
  const std::byte* k = nullptr;                // as in Attend
  const std::byte* v = nullptr;
  uint64_t begin = 0;
  uint64_t end = 0;
  uint64_t position = 0;
  uint64_t n_tokens = 0;
  uint64_t n_heads = 0;
  uint64_t head_dim = 0;
  uint64_t window = 0;
  float scale = 0;
  float* scratch = nullptr;  // attend_block_scratch floats
  float* result = nullptr;   // [n_tokens, n_heads, partial_width]
};
constexpr uint64_t attend_block_scratch(uint64_t n_queries, uint64_t n_positions, uint64_t head_dim) {
  const uint64_t queries =
      (n_queries + AttendBlock::kQueryAlign - 1) / AttendBlock::kQueryAlign * AttendBlock::kQueryAlign;
  const uint64_t width = cache_width(head_dim);
  return 2 * queries * width + 2 * AttendBlock::kKeys * width + (n_positions + 2 * kCacheGroup + 2) * queries;
}

struct AttentionKernels {
  void (*attend)(const Attend&);
  void (*attend_block)(const AttendBlock&);
  // Rounds n floats to the type of the cache; blocks as formats/ has them.
  void (*store)(const float* x, uint64_t n, std::byte* out);
};
// For a cache of one of the CacheFormats (CHECKed).
AttentionKernels attention_kernels(DType cache_type, const Isa& isa);
using AttendBlockKernel = void (*)(const AttendBlock&);
AttendBlockKernel attend_block_kernel(DType cache_type, const Isa& isa);  // the part in cpu/attention_block.cpp

}  // namespace stretto::cpu
