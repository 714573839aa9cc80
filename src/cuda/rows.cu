// Row moves.
//
// Embed: a block per token, a warp per unit of the row. TakeRows: a block per row. Bytes: what is read and written
// once. Limits: none beyond those of the formats.
#include "cuda/device/dependency.cuh"
#include "cuda/device/stored_formats.cuh"
#include "cuda/rows.h"

namespace stretto::cuda {
namespace {

constexpr uint32_t kThreads = 256;

template <class Format>
__global__ void embed_kernel(EmbedParams p) {
  trigger_dependents();
  wait_for_inputs();
  const auto token = static_cast<uint32_t>(p.tokens[blockIdx.x]);
  const uint32_t warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const uint8_t* group = p.table + uint64_t{token / kUnitRows} * p.n_units * Format::kUnitBytes;
  float* out = p.out + uint64_t{blockIdx.x} * p.n_in;
  for (uint32_t u = warp; u < p.n_units; u += blockDim.x / 32) {
    float v[Format::kLaneCols];
    decode_lane<Format>(group + u * Format::kUnitBytes, lane, token % kUnitRows, v);
#pragma unroll
    for (uint32_t i = 0; i < Format::kLaneCols; ++i) {
      const uint32_t column = u * Format::kUnitCols + Format::column(lane, i);
      if (column < p.n_in) out[column] = p.scale * v[i];
    }
  }
}

__global__ void take_rows_kernel(TakeRowsParams p) {
  trigger_dependents();
  wait_for_inputs();
  const float* from = p.x + static_cast<uint64_t>(p.rows[blockIdx.x]) * p.width;
  float* to = p.out + uint64_t{blockIdx.x} * p.width;
  for (uint32_t i = threadIdx.x; i < p.width; i += blockDim.x) to[i] = from[i];
}

}  // namespace

void launch_embed(Queue& queue, const PackedShape& shape, uint32_t n_tokens, EmbedParams params) {
  params.n_in = static_cast<uint32_t>(shape.n_in);
  params.n_units = static_cast<uint32_t>(shape.n_units());
  visit_packed(shape.type, [&](auto format) {
    launch_kernel(queue, &embed_kernel<decltype(format)>, dim3(n_tokens), kThreads, 0, params);
  });
}

void launch_take_rows(Queue& queue, uint32_t n_rows, const TakeRowsParams& params) {
  launch_kernel(queue, &take_rows_kernel, dim3(n_rows), kThreads, 0, params);
}

void prepare_rows(const DeviceShape& device) {
  prepare_kernel(&take_rows_kernel, device);
  std::apply([&](auto... format) { (prepare_kernel(&embed_kernel<decltype(format)>, device), ...); }, PackedFormats{});
}

}  // namespace stretto::cuda
