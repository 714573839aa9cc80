// The unit layouts of device/formats.cuh for the host: their sizes, and reading them back.
#include "cuda/device/stored_formats.cuh"
#include "cuda/packed.h"

namespace stretto::cuda {

UnitShape unit_shape(DType type) {
  UnitShape shape;
  visit_packed(type, [&](auto format) {
    using Format = decltype(format);
    shape = {Format::kUnitCols, Format::kUnitBytes};
  });
  return shape;
}

std::vector<float> unpack_row(const PackedShape& shape, const std::byte* group, uint64_t r) {
  std::vector<float> out(shape.n_units() * shape.unit.cols);
  visit_packed(shape.type, [&](auto format) {
    using Format = decltype(format);
    for (uint64_t u = 0; u < shape.n_units(); ++u) {
      const auto* unit = reinterpret_cast<const uint8_t*>(group) + u * Format::kUnitBytes;
      for (uint32_t lane = 0; lane < 32; ++lane) {
        float v[Format::kLaneCols];
        decode_lane<Format>(unit, lane, static_cast<uint32_t>(r), v);
        for (uint32_t i = 0; i < Format::kLaneCols; ++i) out[u * Format::kUnitCols + Format::column(lane, i)] = v[i];
      }
    }
  });
  out.resize(shape.n_in);
  return out;
}

}  // namespace stretto::cuda
