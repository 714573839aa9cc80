#include "cpu/kernels.h"

#include "base/check.h"
#include "formats/formats.h"

namespace stretto::cpu {

TileKernel tile_kernel(DType type, const Isa& isa) {
  CHECK(has_format(type));
  if (const TileKernel kernel = float_tile_kernel(type, isa); kernel != nullptr) return kernel;
  if (const TileKernel kernel = x86_integer_tile_kernel(type, isa); kernel != nullptr) return kernel;
  return integer_tile_kernel(type, isa);
}

}  // namespace stretto::cpu
