// Row-wise kernels: a block per row (norm, rounding) or a thread per value. Bytes: every value once in and once out.

#include "cuda/device/dependency.cuh"
#include "cuda/device/numeric.cuh"
#include "cuda/device/store.cuh"
#include "cuda/elementwise.h"

namespace stretto::cuda {
namespace {

constexpr uint32_t kThreads = 256;
constexpr uint64_t kMaxBlocks = 4096;

template <class T>
__global__ void rms_norm_kernel(RmsNormParams p) {
  __shared__ float scratch[32];
  trigger_dependents();
  wait_for_inputs();
  const float* x = p.x + uint64_t{blockIdx.x} * p.group;
  T* out = static_cast<T*>(p.out) + uint64_t{blockIdx.x} * p.stride;
  float sum = 0;
  for (uint32_t i = threadIdx.x; i < p.group; i += blockDim.x) sum += x[i] * x[i];
  delay_stores();
  const float factor = rms_factor(block_sum(sum, scratch), p.group, p.eps);
  for (uint32_t i = threadIdx.x; i < p.stride; i += blockDim.x) {
    const float weight = p.weight != nullptr && i < p.group ? p.weight[i] : 1;
    store_as(out + i, i < p.group ? x[i] * factor * weight : 0);
  }
}

template <class T>
__global__ void round_kernel(RoundParams p) {
  trigger_dependents();
  wait_for_inputs();
  const float* x = p.x + uint64_t{blockIdx.x} * p.width;
  T* out = static_cast<T*>(p.out) + uint64_t{blockIdx.x} * p.stride;
  for (uint32_t i = threadIdx.x; i < p.stride; i += blockDim.x) store_as(out + i, i < p.width ? x[i] : 0);
}

__global__ void add_kernel(AddParams p) {
  trigger_dependents();
  wait_for_inputs();
  for (uint64_t i = uint64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < p.n; i += uint64_t{gridDim.x} * blockDim.x)
    p.out[i] = p.a[i] + p.b[i % p.b_width];
}

__global__ void gated_act_kernel(GatedActParams p) {
  trigger_dependents();
  wait_for_inputs();
  const uint64_t n = uint64_t{p.n_rows} * p.width;
  for (uint64_t i = uint64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < n; i += uint64_t{gridDim.x} * blockDim.x) {
    const uint64_t row = i / p.width;
    const auto o = static_cast<uint32_t>(i % p.width);
    const uint64_t at = p.interleaved ? row * p.stride + 4 * (o / 2) + o % 2 : i;
    float gate = p.gate[at], up = p.interleaved ? p.gate[at + 2] : p.up[at];
    if (p.b_gate != nullptr) gate += p.b_gate[o];
    if (p.b_up != nullptr) up += p.b_up[o];
    p.out[i] = activate(p.act, gate) * up;
  }
}

uint32_t blocks_for(uint64_t n) {
  const uint64_t blocks = (n + kThreads - 1) / kThreads;
  return static_cast<uint32_t>(blocks < kMaxBlocks ? blocks : kMaxBlocks);
}

}  // namespace

void launch_rms_norm(Queue& queue, uint32_t n_groups, DType out_type, const RmsNormParams& params) {
  const auto kernel = out_type == DType::kF32   ? &rms_norm_kernel<float>
                      : out_type == DType::kF16 ? &rms_norm_kernel<__half>
                                                : &rms_norm_kernel<__nv_bfloat16>;
  launch_kernel(queue, kernel, dim3(n_groups), kThreads, 0, params);
}

void launch_round(Queue& queue, uint32_t n_rows, DType out_type, const RoundParams& params) {
  const auto kernel = out_type == DType::kF32   ? &round_kernel<float>
                      : out_type == DType::kF16 ? &round_kernel<__half>
                                                : &round_kernel<__nv_bfloat16>;
  launch_kernel(queue, kernel, dim3(n_rows), kThreads, 0, params);
}

void launch_add(Queue& queue, const AddParams& params) {
  launch_kernel(queue, &add_kernel, dim3(blocks_for(params.n)), kThreads, 0, params);
}

void launch_gated_act(Queue& queue, const GatedActParams& params) {
  const uint64_t n = uint64_t{params.n_rows} * params.width;
  launch_kernel(queue, &gated_act_kernel, dim3(blocks_for(n)), kThreads, 0, params);
}

}  // namespace stretto::cuda
