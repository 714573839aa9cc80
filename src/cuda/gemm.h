// Dense matrix products of large steps, by cuBLASLt, which is opened at run time: a machine without it still decodes.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <memory>

#include "base/dtype.h"

namespace stretto::cuda {

// out[r, o] = sum_i w[o, i] * x[r, i] + (residual ? residual[r, o] : 0), accumulated in float32. `residual` may be
// `out`.
struct GemmCall {
  DType type = DType::kBF16;  // of w and x: F32, F16 or BF16
  const void* w = nullptr;    // [n_out, stride]
  const void* x = nullptr;    // [n_rows, stride]
  uint64_t n_out = 0, n_rows = 0, n_in = 0, stride = 0;
  uint64_t x_stride = 0;  // where that of x is another one, else 0
  float* out = nullptr;   // rows of out_stride
  const float* residual = nullptr;
  uint64_t out_stride = 0;
};

class Gemm {
 public:
  static constexpr uint64_t kWorkspaceBytes = 32 << 20;

  // nullptr with the reason where the library cannot be opened.
  static std::unique_ptr<Gemm> open(void* workspace, const char** problem);
  virtual ~Gemm() = default;
  virtual void run(cudaStream_t stream, const GemmCall& call) = 0;  // throws Error(kCuda)
};

}  // namespace stretto::cuda
