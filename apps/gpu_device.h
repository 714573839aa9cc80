// The CUDA backend as the commands see it, in builds with it (gpu_device.cpp) and without (no_gpu_device.cpp).
#pragma once

#include <memory>
#include <string>

#include "backend/backend.h"
#include "device.h"

namespace stretto::app {

// Why no CUDA device can be used; empty when the first one can.
std::string cuda_problem();
// For doctor: driver, devices and what is wrong with each, one line.
std::string cuda_report();
// `wanted` is "cuda" or "cuda:N". Throws Error with the reason.
std::unique_ptr<Backend> open_cuda(const std::string& wanted, const DeviceOptions& options);

}  // namespace stretto::app
