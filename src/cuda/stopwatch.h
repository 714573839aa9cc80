// Time by the device's clock, for measurements only.
#pragma once

#include "cuda/launch.h"

namespace stretto::cuda {

class Stopwatch {
 public:
  Stopwatch() {
    check_cuda(cudaEventCreate(&begin_), "event");
    check_cuda(cudaEventCreate(&end_), "event");
  }
  ~Stopwatch() {
    (void)cudaEventDestroy(begin_);
    (void)cudaEventDestroy(end_);
  }
  Stopwatch(const Stopwatch&) = delete;
  Stopwatch& operator=(const Stopwatch&) = delete;

  // Microseconds that the device needed for what `launch` puts into the stream. Waits for it.
  template <class F>
  double us(cudaStream_t stream, F&& launch) const {
    check_cuda(cudaEventRecord(begin_, stream), "event");
    launch();
    check_cuda(cudaEventRecord(end_, stream), "event");
    check_cuda(cudaEventSynchronize(end_), "a measurement");
    float ms = 0;
    check_cuda(cudaEventElapsedTime(&ms, begin_, end_), "event");
    return 1e3 * static_cast<double>(ms);
  }

 private:
  cudaEvent_t begin_ = nullptr, end_ = nullptr;
};

}  // namespace stretto::cuda
