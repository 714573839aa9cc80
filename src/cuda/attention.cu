// Attention for any head size: a block per query head and token, its warps take positions in turn with a softmax of
// their own, joined at the end. Simple and exact rather than fast: common head sizes have decode_attention.cu. Bytes:
// the visible keys and values once per query head. Limits: head_dim <= kMaxHeadDim; F32, F16, BF16 caches.
#include "cuda/attention.h"
#include "cuda/device/dependency.cuh"
#include "cuda/device/formats.cuh"
#include "cuda/device/numeric.cuh"

namespace stretto::cuda {
namespace {

constexpr int kWarps = 4;
constexpr uint32_t kPerLane = kMaxHeadDim / 32;

__device__ __forceinline__ float value(float x) { return x; }
__device__ __forceinline__ float value(__half x) { return __half2float(x); }
__device__ __forceinline__ float value(__nv_bfloat16 x) { return __bfloat162float(x); }

template <class T>
__global__ void __launch_bounds__(32 * kWarps) attention_kernel(AttentionParams p) {
  __shared__ float tops[kWarps], sums[kWarps], results[kWarps][kMaxHeadDim];
  trigger_dependents();
  wait_for_inputs();
  const uint32_t warp = threadIdx.x / 32, lane = threadIdx.x % 32, head = blockIdx.x, t = blockIdx.y;
  const uint32_t position = static_cast<uint32_t>(*p.position) + t;
  const uint32_t start = p.window != 0 && position + 1 > p.window ? position + 1 - p.window : 0;
  const uint32_t head_dim = p.layout.head_dim, kv_head = head / (p.n_heads / p.layout.n_kv_heads);
  const uint64_t row = (uint64_t{t} * p.n_heads + head) * head_dim;
  float q[kPerLane], acc[kPerLane];
#pragma unroll
  for (uint32_t i = 0; i < kPerLane; ++i) {
    q[i] = lane + 32 * i < head_dim ? p.q[row + lane + 32 * i] * p.scale : 0;
    acc[i] = 0;
  }
  float top = -1e30F, sum = 0;
  for (uint32_t at = start + warp; at <= position; at += kWarps) {
    const uint64_t cached = p.layout.row(kv_head, at);
    const T* k = static_cast<const T*>(p.k_cache) + cached;
    const T* v = static_cast<const T*>(p.v_cache) + cached;
    const auto column = [&](uint32_t i) { return CacheLayout::column(at, lane + 32 * i, head_dim, sizeof(T)); };
    float dot = 0;
#pragma unroll
    for (uint32_t i = 0; i < kPerLane; ++i)
      if (lane + 32 * i < head_dim) dot += q[i] * value(k[column(i)]);
    const float score = warp_sum(dot), new_top = fmaxf(top, score);
    const float shrink = expf(top - new_top), weight = expf(score - new_top);
    top = new_top;
    sum = sum * shrink + weight;
#pragma unroll
    for (uint32_t i = 0; i < kPerLane; ++i)
      if (lane + 32 * i < head_dim) acc[i] = acc[i] * shrink + weight * value(v[column(i)]);
  }
  if (lane == 0) {
    tops[warp] = top;
    sums[warp] = sum;
  }
#pragma unroll
  for (uint32_t i = 0; i < kPerLane; ++i)
    if (lane + 32 * i < head_dim) results[warp][lane + 32 * i] = acc[i];
  __syncthreads();
  for (uint32_t d = threadIdx.x; d < head_dim; d += blockDim.x) {
    float most = tops[0];
    for (int w = 1; w < kWarps; ++w) most = fmaxf(most, tops[w]);
    float total = 0, y = 0;
    for (int w = 0; w < kWarps; ++w) {
      const float f = expf(tops[w] - most);
      total += f * sums[w];
      y += f * results[w][d];
    }
    p.out[row + d] = y / total;
  }
}

}  // namespace

void launch_attention(Queue& queue, DType cache_type, uint32_t n_tokens, const AttentionParams& params) {
  const auto kernel = cache_type == DType::kF32   ? &attention_kernel<float>
                      : cache_type == DType::kF16 ? &attention_kernel<__half>
                                                  : &attention_kernel<__nv_bfloat16>;
  launch_kernel(queue, kernel, dim3(params.n_heads, n_tokens), 32 * kWarps, 0, params);
}

}  // namespace stretto::cuda
