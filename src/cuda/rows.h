// Kernels that move rows: embedding look-up, choice of the output rows.
#pragma once

#include <cstdint>

#include "cuda/launch.h"
#include "cuda/packed.h"

namespace stretto::cuda {

// out[t, :] = scale * row tokens[t] of the packed table.
struct EmbedParams {
  const uint8_t* table = nullptr;
  const int32_t* tokens = nullptr;  // [n_tokens], device
  float* out = nullptr;
  float scale = 1;
  uint32_t n_in = 0, n_units = 0;
};
void launch_embed(Queue& queue, const PackedShape& shape, uint32_t n_tokens, EmbedParams params);

// out[o, :] = x[rows[o], :]
struct TakeRowsParams {
  const float* x = nullptr;
  const int32_t* rows = nullptr;  // [n_rows], device
  float* out = nullptr;
  uint32_t width = 0;
};
void launch_take_rows(Queue& queue, uint32_t n_rows, const TakeRowsParams& params);

void prepare_rows(const DeviceShape& device);

}  // namespace stretto::cuda
