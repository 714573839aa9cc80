// Attention for any head size: a block per query head and token, its warps take positions in turn with a softmax of
// their own, joined at the end. Simple and exact rather than fast: common head sizes have decode_attention.cu. Bytes:
// the visible keys and values once per query head. Limits: head_dim <= kMaxHeadDim, and whole blocks for Q8_0.
#include "cuda/attention.h"
#include "cuda/device/cache_format.cuh"
#include "cuda/device/dependency.cuh"
#include "cuda/device/formats.cuh"
#include "cuda/device/numeric.cuh"
#include "formats/cache_formats.h"

namespace stretto::cuda {
namespace {

constexpr int kWarps = 4;
constexpr uint32_t kPerLane = kMaxHeadDim / 32;

__device__ __forceinline__ float value(float x) { return x; }
__device__ __forceinline__ float value(__half x) { return __half2float(x); }
__device__ __forceinline__ float value(__nv_bfloat16 x) { return __bfloat162float(x); }
__device__ __forceinline__ float value(__nv_fp8_e4m3 x) { return F8Cache::value(x.__x); }

// Rows of one head of a cache of Ts, or of a format with scales.
template <class T>
struct CacheRows {
  const T* head;
  uint32_t head_dim;
  __device__ CacheRows(const void* cache, const CacheLayout& layout, uint32_t kv_head)
      : head(static_cast<const T*>(cache) + layout.row(kv_head, 0)), head_dim(layout.head_dim) {}
  __device__ __forceinline__ float at(uint32_t position, uint32_t d) const {
    return value(head[uint64_t{position} * head_dim + CacheLayout::column(position, d, head_dim, sizeof(T))]);
  }
};
template <>
struct CacheRows<Q8Cache> {
  const uint8_t* head;
  uint32_t head_dim;
  __device__ CacheRows(const void* cache, const CacheLayout& layout, uint32_t kv_head)
      : head(static_cast<const uint8_t*>(cache) + layout.granule(kv_head, 0, Q8Cache::granule_bytes(layout.head_dim))),
        head_dim(layout.head_dim) {}
  __device__ __forceinline__ float at(uint32_t position, uint32_t d) const {
    const Q8Cache::Code c{*reinterpret_cast<const __half*>(head + Q8Cache::scale_at(position, d / 32, head_dim)),
                          static_cast<int8_t>(head[Q8Cache::code_at(position, d, head_dim)])};
    return c.value();
  }
};

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
  const CacheRows<T> keys(p.k_cache, p.layout, kv_head), values(p.v_cache, p.layout, kv_head);
  for (uint32_t at = start + warp; at <= position; at += kWarps) {
    float dot = 0;
#pragma unroll
    for (uint32_t i = 0; i < kPerLane; ++i)
      if (lane + 32 * i < head_dim) dot += q[i] * keys.at(at, lane + 32 * i);
    const float score = warp_sum(dot), new_top = fmaxf(top, score);
    const float shrink = expf(top - new_top), weight = expf(score - new_top);
    top = new_top;
    sum = sum * shrink + weight;
#pragma unroll
    for (uint32_t i = 0; i < kPerLane; ++i)
      if (lane + 32 * i < head_dim) acc[i] = acc[i] * shrink + weight * values.at(at, lane + 32 * i);
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
  CHECK(is_cache_type(cache_type));
  const auto kernel = cache_type == DType::kF32       ? &attention_kernel<float>
                      : cache_type == DType::kF16     ? &attention_kernel<__half>
                      : cache_type == DType::kBF16    ? &attention_kernel<__nv_bfloat16>
                      : cache_type == DType::kF8_E4M3 ? &attention_kernel<__nv_fp8_e4m3>
                                                      : &attention_kernel<Q8Cache>;
  launch_kernel(queue, kernel, dim3(params.n_heads, n_tokens), 32 * kWarps, 0, params);
}

}  // namespace stretto::cuda
