// Vectors between two kernels of a small step in the form that integer weights are multiplied with: quantised once by
// the kernel that makes them, not by every block that reads them. They lie where the floats would.
#pragma once

#include <cstdint>
#include <vector>

#include "program/program.h"

namespace stretto::cuda {

struct DeviceShape;

// value = scales[i / 32] * codes[i], like formats/activation.h.
struct QuantizedVector {
  int8_t* codes = nullptr;  // [width], nullptr: the vector is in floats
  float* scales = nullptr;  // [width / 32]
  QuantizedVector() = default;
  QuantizedVector(float* row, uint64_t width) : codes(reinterpret_cast<int8_t*>(row)), scales(row + width / 4) {}
};

// Groups of a gate_up matrix (cuda/gemv.h) that make one block of 32 results.
inline constexpr uint32_t kQuantizedGroups = 16;

// Per ValueId: what a kernel that can quantise makes and only products with integer weights read.
std::vector<bool> quantized_values(const Program& program, const DeviceShape& device);

}  // namespace stretto::cuda
