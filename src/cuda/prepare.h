// Once per process and device: shared memory limits and carve-out of the kernels of a step.
#pragma once

#include "cuda/bank_gemv.h"
#include "cuda/clusters.h"
#include "cuda/decode_attention.h"
#include "cuda/expert_gemm.h"
#include "cuda/experts.h"
#include "cuda/gemv.h"
#include "cuda/prefill_attention.h"
#include "cuda/rows.h"
#include "cuda/sample.h"
#include "cuda/stream.h"
#include "cuda/swap.h"

namespace stretto::cuda {

inline void prepare_kernels(const DeviceShape& device) {
  prepare_gemv(device);
  prepare_decode_attention(device);
  prepare_prefill_attention(device);
  prepare_rows(device);
  prepare_sample(device);
  prepare_experts(device);
  prepare_expert_gemm(device);
  prepare_stream(device);
  prepare_clusters(device);
  prepare_swap(device);
  prepare_bank_gemv(device);
}

}  // namespace stretto::cuda
