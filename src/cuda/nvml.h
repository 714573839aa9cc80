// Clocks, power and temperature through the driver's management library, opened at run time. Only reads.
#pragma once

#include <memory>
#include <string>

#include "backend/instruments.h"

namespace stretto::cuda {

// Samples of the CUDA device `index` every 20 ms while resumed. Where the library is missing the watch says so and
// reports nothing.
std::unique_ptr<DeviceWatch> make_device_watch(int index);

}  // namespace stretto::cuda
