#include "cpu/kernels.h"

#include "base/check.h"
#include "base/checked.h"
#include "formats/formats.h"

namespace stretto::cpu {

namespace {

uint64_t sums_bytes(uint64_t n) { return round_up(n / kActivationBlock * sizeof(int32_t), 64); }

}  // namespace

uint64_t operand_bytes(uint64_t n) {
  return activation_row_bytes(n) + sums_bytes(n) + round_up(n / 16 * sizeof(int32_t), 64);
}

Operand operand_view(const std::byte* memory, uint64_t n) {
  const ActivationView row = activation_view(memory, n);
  const std::byte* offsets = memory + activation_row_bytes(n);
  return {.q = row.q,
          .scale = row.scale,
          .sum = row.sum,
          .offset128 = reinterpret_cast<const int32_t*>(offsets),
          .offset32 = reinterpret_cast<const int32_t*>(offsets + sums_bytes(n))};
}

void set_operand_offsets(std::byte* memory, uint64_t n, uint64_t first, uint64_t count) {
  const Operand o = operand_view(memory, n);
  auto* const whole = const_cast<int32_t*>(o.offset128);
  auto* const halves = const_cast<int32_t*>(o.offset32);
  for (uint64_t b = first; b < first + count; ++b) {
    int32_t sum[2] = {0, 0};
    for (uint64_t i = 0; i < kActivationBlock; ++i) sum[i / 16] += o.q[b * kActivationBlock + i];
    whole[b] = -128 * (sum[0] + sum[1]);
    for (uint64_t k = 0; k < 2; ++k) halves[2 * b + k] = -32 * sum[k];
  }
}

TileKernel tile_kernel(DType type, const Isa& isa) {
  CHECK(has_format(type));
  if (const TileKernel kernel = float_tile_kernel(type, isa); kernel != nullptr) return kernel;
  if (const TileKernel kernel = x86_integer_tile_kernel(type, isa); kernel != nullptr) return kernel;
  return integer_tile_kernel(type, isa);
}

}  // namespace stretto::cpu
