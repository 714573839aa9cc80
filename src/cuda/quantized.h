// Vectors between two kernels in the form in which they are multiplied, made by the kernel that computes them: in small
// steps quantised for integer weights (once, not by every block that reads them), in large ones rounded for dense
// products (no pass over memory of its own). They lie where the floats would.
#pragma once

#include <cstdint>
#include <vector>

#include "base/dtype.h"
#include "cuda/cache_layout.h"
#include "program/program.h"

namespace stretto::cuda {

struct DeviceShape;

// value = scales[i / 32] * codes[i], like formats/activation.h.
struct QuantizedVector {
  int8_t* codes = nullptr;  // [width], nullptr: the vector is in floats
  float* scales = nullptr;  // [width / 32]
  QuantizedVector() = default;
  QuantizedVector(float* row, uint64_t width) : codes(reinterpret_cast<int8_t*>(row)), scales(row + width / 4) {}
  // The one in row r, where this is in row 0 of rows of `width` floats.
  STRETTO_LAYOUT_HD QuantizedVector row(uint64_t r, uint64_t width) const {
    QuantizedVector v;
    v.codes = codes + 4 * r * width;
    v.scales = scales + r * width;
    return v;
  }
};

// Groups of a gate_up matrix (cuda/gemv.h) that make one block of 32 results.
inline constexpr uint32_t kQuantizedGroups = 16;

// Per ValueId: what a kernel that can quantise makes and only products with integer weights read.
std::vector<bool> quantized_values(const Program& program, const DeviceShape& device);

// Whether large steps multiply rounded activations in two parts (device/store.cuh), at twice the cost: where the result
// chooses a way with a margin as small as 1e-3 (ops/swap_route.h), the 2^-9 of BF16 would choose another one.
bool splits_activations(const Program& program);

// Per ValueId: F16 or BF16 where a kernel that can round makes the value and only dense products of that type read it,
// else F32, always F32 where activations are split. Rounded rows follow each other without padding.
std::vector<DType> rounded_values(const Program& program);

}  // namespace stretto::cuda
