// Decoding of packed weights for the dense products of large steps.
#pragma once

#include <cstdint>

#include "cuda/launch.h"
#include "cuda/packed.h"

namespace stretto::cuda {

// What a packed type becomes: F32 and F16 stay what they are, everything else is rounded to BF16.
inline DType dense_type(DType type) { return type == DType::kF32 || type == DType::kF16 ? type : DType::kBF16; }

// Elements between the rows of a decoded matrix, and bytes of all its groups.
inline uint64_t dense_stride(const PackedShape& shape) { return (shape.n_in + 7) / 8 * 8; }
inline uint64_t dense_element_bytes(DType type) { return dense_type(type) == DType::kF32 ? 4 : 2; }
inline uint64_t dense_group_bytes(const PackedShape& shape) {
  return kGroupRows * dense_stride(shape) * dense_element_bytes(shape.type);
}
inline uint64_t dense_bytes(const PackedShape& shape) { return shape.n_groups() * dense_group_bytes(shape); }

// Decodes a run of groups into rows of `stride` elements, a multiple of 8, of dense_type(shape.type). Columns n_in ..
// stride are zeros. `out` is 16-byte aligned.
struct DequantizeParams {
  const uint8_t* groups = nullptr;  // the first group
  void* out = nullptr;              // [n_groups * 4, stride]
  uint32_t n_units = 0, n_groups = 0, stride = 0;
};
void launch_dequantize(Queue& queue, const PackedShape& shape, DequantizeParams params);

}  // namespace stretto::cuda
