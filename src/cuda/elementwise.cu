// Row-wise kernels: a block per row (norm, rounding) or a thread per value. Bytes: every value once in and once out.

#include "cuda/device/dependency.cuh"
#include "cuda/device/numeric.cuh"
#include "cuda/device/store.cuh"
#include "cuda/elementwise.h"

namespace stretto::cuda {
namespace {

constexpr uint32_t kThreads = 256;
constexpr uint64_t kMaxBlocks = 4096;

// Rows whose length is a multiple of four are read and written four values at a time.
template <class T, bool kQuads>
__global__ void rms_norm_kernel(RmsNormParams p) {
  __shared__ float scratch[32];
  trigger_dependents();
  wait_for_inputs();
  const float* x = p.x + uint64_t{blockIdx.x} * p.group;
  const uint32_t low = p.split ? p.stride : 0;
  T* out = static_cast<T*>(p.out) + uint64_t{blockIdx.x} * (p.stride + low);
  float sum = 0;
  if constexpr (kQuads) {
    for (uint32_t i = 4 * threadIdx.x; i < p.group; i += 4 * blockDim.x) {
      const float4 v = *reinterpret_cast<const float4*>(x + i);
      sum += v.x * v.x + v.y * v.y + v.z * v.z + v.w * v.w;
    }
  } else {
    for (uint32_t i = threadIdx.x; i < p.group; i += blockDim.x) sum += x[i] * x[i];
  }
  delay_stores();
  const float factor = rms_factor(block_sum(sum, scratch), p.group, p.eps);
  if constexpr (kQuads) {
    for (uint32_t i = 4 * threadIdx.x; i < p.stride; i += 4 * blockDim.x) {
      float4 v = make_float4(0, 0, 0, 0);
      if (i < p.group) {
        v = *reinterpret_cast<const float4*>(x + i);
        const float4 w = p.weight != nullptr ? *reinterpret_cast<const float4*>(p.weight + i) : make_float4(1, 1, 1, 1);
        v = make_float4(v.x * factor * w.x, v.y * factor * w.y, v.z * factor * w.z, v.w * factor * w.w);
      }
      store_split(out + i, v, low);
    }
  } else {
    for (uint32_t i = threadIdx.x; i < p.stride; i += blockDim.x) {
      const float weight = p.weight != nullptr && i < p.group ? p.weight[i] : 1;
      store_split(out + i, i < p.group ? x[i] * factor * weight : 0, low);
    }
  }
}

template <class T, bool kQuads>
__global__ void round_kernel(RoundParams p) {
  trigger_dependents();
  wait_for_inputs();
  const float* x = p.x + uint64_t{blockIdx.x} * p.width;
  const uint32_t low = p.split ? p.stride : 0;
  T* out = static_cast<T*>(p.out) + uint64_t{blockIdx.x} * (p.stride + low);
  if constexpr (kQuads) {
    for (uint32_t i = 4 * threadIdx.x; i < p.stride; i += 4 * blockDim.x)
      store_split(out + i, i < p.width ? *reinterpret_cast<const float4*>(x + i) : make_float4(0, 0, 0, 0), low);
  } else {
    for (uint32_t i = threadIdx.x; i < p.stride; i += blockDim.x) store_split(out + i, i < p.width ? x[i] : 0, low);
  }
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
  for (uint64_t i = uint64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < p.n; i += uint64_t{gridDim.x} * blockDim.x)
    p.out[i] = activate(p.act, p.gate[i]) * p.up[i];
}

// Grid: x over rows, y over groups of a row. A thread takes a group: two results.
template <class T>
__global__ void gate_up_act_kernel(const __grid_constant__ GateUpActParams p) {
  trigger_dependents();
  wait_for_inputs();
  const uint32_t o = 2 * (blockIdx.y * blockDim.x + threadIdx.x);
  if (o >= p.out_stride) return;
  float2 y = make_float2(0, 0);
  if (o < p.width) {
    float4 v = *reinterpret_cast<const float4*>(p.x + uint64_t{blockIdx.x} * p.x_stride + 2 * o);
    const bool second = o + 1 < p.width;
    if (p.b_gate != nullptr) v.x += p.b_gate[o], v.y += second ? p.b_gate[o + 1] : 0;
    if (p.b_up != nullptr) v.z += p.b_up[o], v.w += second ? p.b_up[o + 1] : 0;
    y = make_float2(activate(p.act, v.x) * v.z, second ? activate(p.act, v.y) * v.w : 0);
  }
  T* out = static_cast<T*>(p.out) + uint64_t{blockIdx.x} * p.out_stride + o;
  if (p.out_stride % 2 == 0) return store_pair(out, y);
  store_as(out, y.x);
  if (o + 1 < p.out_stride) store_as(out + 1, y.y);
}

// A block per row, four columns per thread at a time where all parts allow it.
__global__ void split_columns_kernel(const __grid_constant__ SplitColumnsParams p) {
  trigger_dependents();
  wait_for_inputs();
  const float* x = p.x + uint64_t{blockIdx.x} * p.stride;
#pragma unroll
  for (const SplitColumnsParams::Part& part : p.part) {
    float* out = part.out + uint64_t{blockIdx.x} * part.width;
    if (part.width % 4 == 0 && p.stride % 4 == 0) {
      for (uint32_t i = 4 * threadIdx.x; i < part.width; i += 4 * blockDim.x) {
        float4 v = *reinterpret_cast<const float4*>(x + i);
        if (part.bias != nullptr)
          v = make_float4(v.x + part.bias[i], v.y + part.bias[i + 1], v.z + part.bias[i + 2], v.w + part.bias[i + 3]);
        *reinterpret_cast<float4*>(out + i) = v;
      }
    } else {
      for (uint32_t i = threadIdx.x; i < part.width; i += blockDim.x)
        out[i] = x[i] + (part.bias != nullptr ? part.bias[i] : 0);
    }
    x += part.width;
  }
}

uint32_t blocks_for(uint64_t n) {
  const uint64_t blocks = (n + kThreads - 1) / kThreads;
  return static_cast<uint32_t>(blocks < kMaxBlocks ? blocks : kMaxBlocks);
}

// f(value of the type)
template <class F>
void visit_float(DType type, F&& f) {
  if (type == DType::kF32) return f(float{});
  if (type == DType::kF16) return f(__half{});
  f(__nv_bfloat16{});
}

}  // namespace

void launch_rms_norm(Queue& queue, uint32_t n_groups, DType out_type, const RmsNormParams& params) {
  const bool quads = params.group % 4 == 0 && params.stride % 4 == 0;
  visit_float(out_type, [&](auto value) {
    using T = decltype(value);
    launch_kernel(queue, quads ? &rms_norm_kernel<T, true> : &rms_norm_kernel<T, false>, dim3(n_groups), kThreads, 0,
                  params);
  });
}

void launch_round(Queue& queue, uint32_t n_rows, DType out_type, const RoundParams& params) {
  const bool quads = params.width % 4 == 0 && params.stride % 4 == 0;
  visit_float(out_type, [&](auto value) {
    using T = decltype(value);
    launch_kernel(queue, quads ? &round_kernel<T, true> : &round_kernel<T, false>, dim3(n_rows), kThreads, 0, params);
  });
}

void launch_add(Queue& queue, const AddParams& params) {
  launch_kernel(queue, &add_kernel, dim3(blocks_for(params.n)), kThreads, 0, params);
}

void launch_gated_act(Queue& queue, const GatedActParams& params) {
  launch_kernel(queue, &gated_act_kernel, dim3(blocks_for(params.n)), kThreads, 0, params);
}

void launch_gate_up_act(Queue& queue, uint32_t n_rows, DType out_type, const GateUpActParams& params) {
  const dim3 grid(n_rows, (params.out_stride + 2 * kThreads - 1) / (2 * kThreads));
  visit_float(out_type, [&](auto value) {
    launch_kernel(queue, &gate_up_act_kernel<decltype(value)>, grid, kThreads, 0, params);
  });
}

void launch_split_columns(Queue& queue, uint32_t n_rows, const SplitColumnsParams& params) {
  launch_kernel(queue, &split_columns_kernel, dim3(n_rows), kThreads, 0, params);
}

}  // namespace stretto::cuda
