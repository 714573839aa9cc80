// The oracle: primitive ops interpreted in float64 with plain loops, from the stored weights dequantised exactly.
// It is the definition that every backend and every fusion is tested against, and it is slow on purpose.
#pragma once

#include <memory>

#include "backend/backend.h"

namespace stretto {

std::unique_ptr<Backend> make_oracle_backend();

}  // namespace stretto
