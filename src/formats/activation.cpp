#include "formats/activation.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "base/check.h"
#include "base/checked.h"
#include "formats/formats.h"

namespace stretto {
namespace {

constexpr uint64_t kArrayAlign = 64;

// max |x| by comparing bit patterns, in which NaN > infinity > every finite value.
float max_magnitude(const float* x, uint64_t n) {
  uint32_t best = 0;
  for (uint64_t i = 0; i < n; ++i) best = std::max(best, std::bit_cast<uint32_t>(x[i]) & 0x7fffffffu);
  return std::bit_cast<float>(best);
}

template <class F>
double dot_block(const typename F::Block& block, const ActivationView& row, uint64_t first) {
  constexpr uint32_t kGroups = F::kBlockElements / F::kGroup;
  int8_t c[F::kBlockElements];
  float d[kGroups], m[kGroups];
  F::codes(block, c);
  F::scales(block, d, m);
  double total = 0;
  for (uint32_t g = 0; g < kGroups; ++g) {
    const uint64_t start = first + g * F::kGroup;
    int32_t products = 0;
    for (uint32_t e = 0; e < F::kGroup; ++e) products += c[g * F::kGroup + e] * row.q[start + e];
    const float activation_scale = row.scale[start / kActivationBlock];
    total += d[g] * activation_scale * static_cast<float>(products);
    if constexpr (F::kHasMin) total -= m[g] * (F::kGroup == 32 ? row.sum[start / 32] : row.half_sum[start / 16]);
  }
  return total;
}

}  // namespace

uint64_t activation_row_bytes(uint64_t n) {
  CHECK(n % kActivationBlock == 0);
  return round_up(n, kArrayAlign) + 2 * round_up(n / 32 * sizeof(float), kArrayAlign) +
         round_up(n / 16 * sizeof(float), kArrayAlign);
}

ActivationRow activation_row(std::byte* memory, uint64_t n) {
  CHECK(n % kActivationBlock == 0);
  const uint64_t scale_bytes = round_up(n / 32 * sizeof(float), kArrayAlign);
  std::byte* scale = memory + round_up(n, kArrayAlign);
  ActivationRow row;
  row.n = n;
  row.q = reinterpret_cast<int8_t*>(memory);
  row.scale = reinterpret_cast<float*>(scale);
  row.sum = reinterpret_cast<float*>(scale + scale_bytes);
  row.half_sum = reinterpret_cast<float*>(scale + 2 * scale_bytes);
  return row;
}

void quantize_activation(const float* x, const ActivationRow& row) {
  quantize_activation_blocks(x, row, 0, row.n / kActivationBlock);
}

void quantize_activation_blocks(const float* x, const ActivationRow& row, uint64_t first, uint64_t count) {
  for (uint64_t b = first; b < first + count; ++b) {
    const float* xb = x + b * kActivationBlock;
    int8_t* q = row.q + b * kActivationBlock;
    const float scale = max_magnitude(xb, kActivationBlock) / 127;
    const float inverse = scale != 0 ? 1 / scale : 0;
    int32_t half[2] = {0, 0};
    for (uint64_t i = 0; i < kActivationBlock; ++i) {
      const float scaled = std::nearbyint(xb[i] * inverse);
      q[i] = std::isnan(scaled) ? int8_t{0} : static_cast<int8_t>(clamp_to_int(scaled, -127, 127));
      half[i / 16] += q[i];
    }
    row.scale[b] = scale;
    row.sum[b] = scale * static_cast<float>(half[0] + half[1]);
    row.half_sum[2 * b] = scale * static_cast<float>(half[0]);
    row.half_sum[2 * b + 1] = scale * static_cast<float>(half[1]);
  }
}

bool has_integer_dot(DType type) {
  return has_format(type) && visit_format(type, [](auto format) { return GroupedFormat<decltype(format)>; });
}

float dot_q8(DType type, const std::byte* weight_row, const ActivationView& row) {
  CHECK(has_integer_dot(type));
  return visit_format(type, [&](auto format) {
    using F = decltype(format);
    double total = 0;
    if constexpr (GroupedFormat<F>) {
      CHECK(row.n % F::kBlockElements == 0);
      const auto* blocks = as_blocks<F>(weight_row);
      for (uint64_t i = 0; i < row.n / F::kBlockElements; ++i)
        total += dot_block<F>(blocks[i], row, i * F::kBlockElements);
    }
    return static_cast<float>(total);
  });
}

}  // namespace stretto
