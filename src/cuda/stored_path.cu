// Which formats have no units of their own: their units are runs of blocks as in the file (device/stored_formats.cuh).
#include "cuda/device/stored_formats.cuh"
#include "cuda/slow_weights.h"

namespace stretto::cuda {

bool multiplies_stored_blocks(DType type) {
  bool stored = false;
  visit_packed(type, [&]<class Format>(Format) {
    stored = requires { Format::kRunBytes; };
  });
  return stored;
}

}  // namespace stretto::cuda
