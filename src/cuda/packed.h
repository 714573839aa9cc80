// How weights lie in device memory: as units that one warp copies and multiplies (device/formats.cuh has the bytes).
//
// The rows of a matrix are taken four at a time (a group), the columns in units; the units of a group follow each other
// and the groups too, so that any run of units is one contiguous copy. Rows and columns that pad a unit are zeros. Not
// a byte more than stored, where the columns fill their units (512 for block formats, 256 for F16 and BF16, 128 for
// F32).
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/dtype.h"

namespace stretto::cuda {

inline constexpr uint64_t kGroupRows = 4;

struct UnitShape {
  uint32_t cols = 0;   // columns of a unit
  uint32_t bytes = 0;  // a multiple of 16
};

// All zero for a type that the kernels do not multiply with.
UnitShape unit_shape(DType type);

// Where everything of a packed matrix lies.
struct PackedShape {
  DType type = DType::kF32;
  uint64_t n_rows = 0;  // without padding
  uint64_t n_in = 0;
  UnitShape unit;
  uint64_t n_groups() const { return (n_rows + kGroupRows - 1) / kGroupRows; }
  uint64_t n_units() const { return (n_in + unit.cols - 1) / unit.cols; }  // of a group
  uint64_t group_bytes() const { return n_units() * unit.bytes; }
  uint64_t bytes() const { return n_groups() * group_bytes(); }
};
PackedShape packed_shape(DType type, uint64_t n_rows, uint64_t n_in);

// Packs one group: rows[kGroupRows] point to stored rows of n_in elements, nullptr for a row of zeros. `out` has
// group_bytes() bytes, 16-byte aligned.
void pack_group(const PackedShape& shape, const std::byte* const* rows, std::byte* out);

// The values of row r (0 .. kGroupRows - 1) of a packed group, as the kernels read them: for the tests.
std::vector<float> unpack_row(const PackedShape& shape, const std::byte* group, uint64_t r);

}  // namespace stretto::cuda
