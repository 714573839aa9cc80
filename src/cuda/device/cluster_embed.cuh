// What a token by clusters begins with: a value of the embedding.
#pragma once

#include "cuda/device/cluster_block.cuh"

namespace stretto::cuda {

// Element `column` of row `token` of the embedding; a warp's lanes have 32 neighbouring ones.
template <size_t I = 0>
__device__ __noinline__ float embedded(const ClusterParams& p, uint32_t token, uint32_t column) {
  if constexpr (I < std::tuple_size_v<PackedFormats>) {
    using Format = std::tuple_element_t<I, PackedFormats>;
    if (Format::kType != p.embed_type) return embedded<I + 1>(p, token, column);
    const uint8_t* const group = p.embed.table + uint64_t{token / kUnitRows} * p.embed.n_units * Format::kUnitBytes;
    const uint8_t* const unit = group + column / Format::kUnitCols * Format::kUnitBytes;
    // The lane of a unit that has the column, and which of the lane's columns it is.
    const uint32_t in_unit = column % Format::kUnitCols;
    uint32_t lane = in_unit / Format::kLaneCols, which = in_unit % Format::kLaneCols;
    if (Format::column(0, Format::kLaneCols - 1) != Format::kLaneCols - 1) {  // fours of two halves
      lane = in_unit % 128 / 4;
      which = in_unit / 128 * 4 + in_unit % 4;
    }
    float v[Format::kLaneCols], x = 0;
    decode_lane<Format>(unit, lane, token % kUnitRows, v);
#pragma unroll
    for (uint32_t i = 0; i < Format::kLaneCols; ++i)
      if (i == which) x = v[i];
    return p.embed.scale * x;
  } else {
    return 0;
  }
}

}  // namespace stretto::cuda
