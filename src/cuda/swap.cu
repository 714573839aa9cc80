// Rows of a swap layer, a block per row (SwapWrite: per row and stream).
//
// Bytes: the vectors once in and once out; weights of a dozen dot products, 45 KB at 1024 columns, once per row from
// the L2 cache, before the dependency wait.
#include "cuda/device/normed_dots.cuh"
#include "cuda/device/swap_route.cuh"
#include "cuda/swap.h"

namespace stretto::cuda {
namespace {

constexpr uint32_t kThreads = 32 * kRouteWarps;

// Elements i .. i + 3 as far as there are n.
__device__ __forceinline__ void store4(float* out, uint32_t i, uint32_t n, float4 v) {
  if (i >= n) return;
  if (n % 4 == 0) {
    *reinterpret_cast<float4*>(out + i) = v;
    return;
  }
  out[i] = v.x;
  if (i + 1 < n) out[i + 1] = v.y;
  if (i + 2 < n) out[i + 2] = v.z;
  if (i + 3 < n) out[i + 3] = v.w;
}

template <bool kWhole>
__global__ void __launch_bounds__(kThreads) swap_route_kernel(const __grid_constant__ SwapRouteParams p) {
  using Route = SwapRouteBlock<SwapRow<kWhole>>;
  __shared__ typename Route::Shared shared;
  __shared__ float scratch[kRouteWarps];
  trigger_dependents();
  const SwapRow<kWhole> in(p, blockIdx.x);
  Route route(p, in, shared);
  route.fetch();
  wait_for_inputs();
  route.decide(true);
  delay_stores();
  float* const out = p.out + uint64_t{blockIdx.x} * p.d;
  route.for_each((p.d + 127) / 128 * 128, scratch, [&](uint32_t i, float4 v) { store4(out, i, p.d, v); });
  if (p.ram_out == nullptr) return;
  for (uint32_t s = 0; s < kStreams; ++s) {
    if (s == route.target()) continue;
    float* const row = p.ram_out + (uint64_t{blockIdx.x} * kStreams + s) * p.d;
    for (uint32_t i = 4 * threadIdx.x; i < p.d; i += 4 * kThreads) store4(row, i, p.d, in.ram(s, i));
  }
}

// Grid: x over rows, y over streams.
__global__ void __launch_bounds__(kThreads) swap_write_kernel(SwapWriteParams p) {
  trigger_dependents();
  wait_for_inputs();
  const uint64_t row = blockIdx.x, at = row * kStreams + blockIdx.y;
  const bool is_target = stream_row(map_of(p.streams + row * kStreamFields), 0) == blockIdx.y;
  const float* const from = is_target ? p.v + row * p.d : p.ram != nullptr ? p.ram + at * p.d : nullptr;
  for (uint32_t i = 4 * threadIdx.x; i < p.d; i += 4 * kThreads)
    store4(p.out + at * p.d, i, p.d, from != nullptr ? load4<false>(from, i, p.d) : make_float4(0, 0, 0, 0));
}

__global__ void __launch_bounds__(kThreads) swap_collapse_kernel(const __grid_constant__ SwapCollapseParams p) {
  __shared__ float logits[kStreams];
  trigger_dependents();
  const uint64_t row = blockIdx.x;
  const auto row_at = [&](uint32_t k) { return p.w + uint64_t{k} * p.d; };
  NormedDots<1> dots;
  dots.fetch(row_at, kStreams, p.norm, p.d);
  wait_for_inputs();
  dots.finish(p.v + row * p.d, row_at, kStreams, p.norm, p.d, p.eps,
              [&](uint32_t k, float dot) { logits[k] = dot + p.bias[k]; });
  __syncthreads();
  const LargestLogit own = largest_logit(logits, kStreams);
  const uint32_t position = static_cast<uint32_t>(*p.position) + p.first_row + blockIdx.x;
  const uint32_t stream = hooked_decision(p.hooks, position, own.index, own.lead, threadIdx.x == 0);
  const uint32_t map = map_of(p.streams + row * kStreamFields);
  if (threadIdx.x == 0 && p.hooks.trace != nullptr)
    p.hooks.trace[uint64_t{position} * p.hooks.trace_stride + p.hooks.margin_column + 1] = static_cast<float>(map);
  delay_stores();
  const float* const chosen = p.ram + (row * kStreams + stream_row(map, stream)) * p.d;
  for (uint32_t i = 4 * threadIdx.x; i < p.d; i += 4 * kThreads) {
    const float4 a = load4<false>(p.residual + row * p.d, i, p.d), b = load4<false>(chosen, i, p.d);
    store4(p.out + row * p.d, i, p.d, make_float4(a.x + b.x, a.y + b.y, a.z + b.z, a.w + b.w));
  }
}

// Grid: x over rows, y over runs of words.
__global__ void __launch_bounds__(kThreads) state_rows_kernel(StateRowsParams p) {
  trigger_dependents();
  wait_for_inputs();
  const uint32_t position = static_cast<uint32_t>(*p.position) + p.first_row + blockIdx.x;
  uint32_t* const row = p.rows + uint64_t{blockIdx.x} * p.width;
  const bool stands = position >= p.lag;
  uint32_t* const stored = p.state + (stands ? uint64_t{position} - p.lag : 0) * p.width;
  for (uint32_t i = blockIdx.y * kThreads + threadIdx.x; i < p.width; i += gridDim.y * kThreads) {
    if (p.writes) {
      stored[i] = row[i];
    } else {
      row[i] = stands ? stored[i] : 0;
    }
  }
}

}  // namespace

void launch_swap_route(Queue& queue, uint32_t n_rows, const SwapRouteParams& params) {
  launch_kernel(queue, params.d % 4 == 0 ? &swap_route_kernel<true> : &swap_route_kernel<false>, dim3(n_rows), kThreads,
                0, params);
}

void launch_swap_write(Queue& queue, uint32_t n_rows, const SwapWriteParams& params) {
  launch_kernel(queue, &swap_write_kernel, dim3(n_rows, kStreams), kThreads, 0, params);
}

void launch_swap_collapse(Queue& queue, uint32_t n_rows, const SwapCollapseParams& params) {
  launch_kernel(queue, &swap_collapse_kernel, dim3(n_rows), kThreads, 0, params);
}

void launch_state_rows(Queue& queue, uint32_t n_rows, const StateRowsParams& params) {
  const uint32_t runs = (params.width + 4 * kThreads - 1) / (4 * kThreads);
  launch_kernel(queue, &state_rows_kernel, dim3(n_rows, runs), kThreads, 0, params);
}

void prepare_swap(const DeviceShape& device) {
  prepare_kernel(&swap_route_kernel<true>, device);
  prepare_kernel(&swap_route_kernel<false>, device);
  prepare_kernel(&swap_write_kernel, device);
  prepare_kernel(&swap_collapse_kernel, device);
  prepare_kernel(&state_rows_kernel, device);
}

}  // namespace stretto::cuda
