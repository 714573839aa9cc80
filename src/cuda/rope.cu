// Rotary embedding and cache writes: a block per token, threads over pairs or values. Bytes: each value in and out.

#include "cuda/device/cache_format.cuh"
#include "cuda/device/dependency.cuh"
#include "cuda/device/store.cuh"
#include "cuda/rope.h"
#include "formats/cache_formats.h"

namespace stretto::cuda {
namespace {

__global__ void fill_rope_kernel(FillRopeParams p) {
  trigger_dependents();
  wait_for_inputs();
  const uint32_t t = blockIdx.x;
  const double position = *p.position + static_cast<double>(t);
  for (uint32_t i = threadIdx.x; i < p.rows.n_pairs; i += blockDim.x) {
    double sin, cos;
    sincos(position * p.inv_freq[i], &sin, &cos);
    p.rows.cos[t * p.rows.n_pairs + i] = static_cast<float>(cos * p.mscale);
    p.rows.sin[t * p.rows.n_pairs + i] = static_cast<float>(sin * p.mscale);
  }
  if (threadIdx.x == 0)
    p.rows.temperature[t] =
        static_cast<float>(1 + p.temperature_beta * log(1 + floor(position / p.temperature_context)));
}

// Threads own pairs, then the values that no pair holds, so that out may be x.
__global__ void rope_kernel(RopeParams p) {
  trigger_dependents();
  wait_for_inputs();
  const uint32_t t = blockIdx.x, n = p.rows.n_pairs, rest = p.head_dim - 2 * n, items = n + rest;
  const float temperature = p.apply_temperature ? p.rows.temperature[t] : 1;
  const uint64_t row = uint64_t{t} * p.n_heads * p.head_dim;
  for (uint32_t item = threadIdx.x; item < p.n_heads * items; item += blockDim.x) {
    const uint64_t head = row + uint64_t{item / items} * p.head_dim;
    const uint32_t i = item % items;
    if (i >= n) {
      p.out[head + n + i] = temperature * p.x[head + n + i];
      continue;
    }
    const float cos = p.rows.cos[t * n + i], sin = p.rows.sin[t * n + i];
    const float a = p.x[head + i], b = p.x[head + n + i];
    p.out[head + i] = temperature * (a * cos - b * sin);
    p.out[head + n + i] = temperature * (a * sin + b * cos);
  }
}

template <class T>
__global__ void kv_append_kernel(KvAppendParams p) {
  trigger_dependents();
  wait_for_inputs();
  const uint32_t head_dim = p.layout.head_dim, width = p.layout.n_kv_heads * head_dim;
  const uint32_t position = static_cast<uint32_t>(*p.position) + blockIdx.x;
  const uint64_t from = uint64_t{blockIdx.x} * width;
  for (uint32_t i = threadIdx.x; i < width; i += blockDim.x) {
    const uint64_t to = p.layout.at(i / head_dim, position, i % head_dim, sizeof(T));
    store_as(static_cast<T*>(p.k_cache) + to, p.k[from + i]);
    store_as(static_cast<T*>(p.v_cache) + to, p.v[from + i]);
  }
}

// Warps over blocks of 32 values.
__global__ void kv_append_q8_kernel(KvAppendParams p) {
  trigger_dependents();
  wait_for_inputs();
  const uint32_t head_dim = p.layout.head_dim, width = p.layout.n_kv_heads * head_dim, lane = threadIdx.x % 32;
  const uint32_t position = static_cast<uint32_t>(*p.position) + blockIdx.x;
  const uint64_t from = uint64_t{blockIdx.x} * width;
  for (uint32_t i = threadIdx.x; i < width; i += blockDim.x) {
    const uint64_t head = p.layout.granule(i / head_dim, 0, Q8Cache::granule_bytes(head_dim));
    const uint32_t block = i % head_dim / 32;
    Q8Cache::append(static_cast<uint8_t*>(p.k_cache) + head, position, block, head_dim, p.k[from + i], true, lane);
    Q8Cache::append(static_cast<uint8_t*>(p.v_cache) + head, position, block, head_dim, p.v[from + i], true, lane);
  }
}

}  // namespace

void launch_fill_rope(Queue& queue, uint32_t n_tokens, const FillRopeParams& params) {
  launch_kernel(queue, &fill_rope_kernel, dim3(n_tokens), 64, 0, params);
}

void launch_rope(Queue& queue, uint32_t n_tokens, const RopeParams& params) {
  launch_kernel(queue, &rope_kernel, dim3(n_tokens), 256, 0, params);
}

void launch_kv_append(Queue& queue, uint32_t n_tokens, DType cache_type, const KvAppendParams& params) {
  CHECK(is_cache_type(cache_type));
  const auto kernel = cache_type == DType::kF32       ? &kv_append_kernel<float>
                      : cache_type == DType::kF16     ? &kv_append_kernel<__half>
                      : cache_type == DType::kBF16    ? &kv_append_kernel<__nv_bfloat16>
                      : cache_type == DType::kF8_E4M3 ? &kv_append_kernel<__nv_fp8_e4m3>
                                                      : &kv_append_q8_kernel;
  launch_kernel(queue, kernel, dim3(n_tokens), 256, 0, params);
}

}  // namespace stretto::cuda
