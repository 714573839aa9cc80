// Tests that need a GPU say so and pass over machines without one.
#pragma once

#include <gtest/gtest.h>

#include "cuda/cuda_backend.h"

namespace stretto::test {

// Why no CUDA device can be used here; empty when the first one can.
inline std::string missing_device() {
  const CudaMachine m = cuda_machine();
  if (!m.problem.empty()) return m.problem;
  return m.devices.front().problem;
}

}  // namespace stretto::test

#define SKIP_WITHOUT_DEVICE()                                                            \
  if (const std::string problem = ::stretto::test::missing_device(); !problem.empty()) { \
    GTEST_SKIP() << "no CUDA device: " << problem;                                       \
  }                                                                                      \
  static_assert(true)
