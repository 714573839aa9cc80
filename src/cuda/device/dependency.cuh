// Programmatic dependent launch, the two halves of a dependency between kernels of one stream or graph.
//
// Every kernel of a step triggers at entry, so that its successor can start as soon as there is room for it, loads only
// weights (and cache rows of earlier tokens), and then waits before it touches anything that a kernel of this step
// wrote. A kernel without the wait would be a race. Where the hardware has no such launches both are nothing: the
// launch order of the stream is the dependency.
#pragma once

namespace stretto::cuda {

__device__ __forceinline__ void trigger_dependents() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;");
#endif
}

__device__ __forceinline__ void wait_for_inputs() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

}  // namespace stretto::cuda
