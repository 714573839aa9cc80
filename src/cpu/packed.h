// Weights repacked for the x86 kernels: row groups, so that one vector register covers the same four elements of
// sixteen rows and the scales of the rows lie in vector lanes. A packed matrix has as many bytes as the stored one
// (rows padded to whole groups), so a decode step reads no byte more.
//
// A step is four elements of all rows: 64 bytes, byte 4 r + e is element e of row r. u: a code plus its offset, so that
// it is unsigned. Within a group, for n_in elements:
//
//   Q8_0   per 32 elements, 544 bytes: 8 steps of u = q + 128; f16 d[16]
//   Q4_K   per 256 elements, 2304 bytes: scale bytes 3 x 64 (below); f16 d[16]; f16 dmin[16]; per 32 elements 4 x 64
//          bytes, low nibbles step 2 i, high nibbles step 2 i + 1
//   Q5_K   per 256 elements, 2816 bytes: as Q4_K before the codes; per 32 elements 5 x 64 bytes of steps 0 .. 4 in the
//          low five bits, and above them bits 0 .. 2 of steps 5, 6 and 7 in bytes 0, 2 and 4, bits 3 and 4 of steps 5
//          and 6 in bits 6 and 7 of bytes 1 and 3, bits 3 and 4 of step 7 in bit 5 of bytes 1 and 3
//   Q6_K   per 256 elements, 3360 bytes: per 16 elements i8 scales[16]; f16 d[16]; per 16 elements 3 x 64 bytes of
//          u = q + 32, steps 0, 1 and 2 in the low six bits, bits 2 i and 2 i + 1 of step 3 in the upper two of step i
//
// Scales lie beside their codes, not in a plane of their own: a second stream of short runs waits for memory at the
// start of every group, which halved the rate of Q8_0. And they lie in the order in which they are read, before the
// codes: a jump back and forth within a record of Q6_K cost a fifth of the rate of rows of 3072.
//
// Scale bytes of Q4_K and Q5_K: the 6-bit values SC(0..7), MN(0..7) of 16 rows are four vectors V[i], value 4 i + k of
// row r at byte 4 r + k. Stored are P[i] = V[i] | (V[3] >> 2 i & 3) << 6 for i < 3.
#pragma once

#include <cstddef>
#include <cstdint>

#include "cpu/fetch.h"
#include "cpu/kernels.h"

namespace stretto::cpu {

inline constexpr uint64_t kGroupRows = 16;

// The kernel for packed weights of `type`, or nullptr when they stay as stored. Tile::rows points to a group, n_rows
// counts rows as usual, x[t] is an operand (cpu/kernels.h), n <= kWideTile. A single vector is multiplied with `fetch`.
TileKernel packed_tile_kernel(DType type, const Isa& isa, Fetch fetch);

// The kernel that multiplies packed weights of `type` with kLeastMany to kManyVectors vectors, to the same bits, or
// nullptr where there is none. It neither fetches ahead nor stops between groups.
TileKernel many_tile_kernel(DType type, const Isa& isa);

// Bytes of Tile::later that a kernel fetches beside a group of rows: at least so many.
constexpr uint64_t later_bytes(uint64_t n_in) { return (n_in + 31) / 32 * 64; }

// Packs one group; a row that is nullptr becomes zeros. `out` holds kGroupRows * row_bytes(type, n_in).
// The type must have a packed form: Q8_0, Q4_K, Q5_K, Q6_K (CHECKed).
void pack_group(DType type, const std::byte* const* rows, uint64_t n_in, std::byte* out);

}  // namespace stretto::cpu
