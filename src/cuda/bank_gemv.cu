// One row times a bank that the device chose (cuda/bank_gemv.h): device/gemv_kernel.cuh on the matrix of that bank.
//
// Grid: as in device/gemv_kernel.cuh.
// Phases of an event: the first product routes in every block, for a kernel of its own would be a phase more. What the
// decision needs, 45 KB of weights at 1024 columns, comes before the wait; behind it lie one read of the vector, two
// sums per warp and a barrier, then the stream of the bank starts. It triggers its dependents when the bank is written,
// so every product behind it in the event knows the bank before its own wait and fills its ring at once.
#include <algorithm>

#include "cuda/bank_gemv.h"
#include "cuda/device/gemv_kernel.cuh"
#include "cuda/device/swap_route.cuh"

namespace stretto::cuda {
namespace {

constexpr uint32_t kWarps = kRouteWarps;
// Small rings, for the next product's lies beside: what its input has to pass, 6 us behind 127 KB, would be more than
// what an early start saves. Measured, an event takes 24.1 us with 64 KB and 25.3 with all of a block's rows in the
// ring.
constexpr uint32_t kRingBytes = 64 << 10;
constexpr uint32_t kStaticBytes = 4096;  // at least what the kernels have beside their dynamic shared memory

// The input after its read, times the norm, as load_input() leaves it; the first block keeps it for the residual.
template <class Format>
__device__ __forceinline__ void load_routed(const GemvParams& p, const GemvInput& in,
                                            SwapRouteBlock<SwapRow<true>>& route, float* keep) {
  __shared__ float scratch[kWarps];
  float sum = 0;
  if (p.n_in % 4 == 0) asm volatile("cp.async.wait_all;" ::: "memory");
  route.for_each(in.padded, scratch, [&](uint32_t i, float4 v) {
    if (i == 4 * threadIdx.x) sum = 0;  // a new pass
    sum += square4(v);
    if (keep != nullptr && i < p.n_in) {
      const float elements[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
      for (uint32_t k = 0; k < 4; ++k)
        if (i + k < p.n_in) keep[i + k] = elements[k];
    }
    const float4 w = load4<Format::kInteger>(p.n_in % 4 == 0 ? in.norm : p.norm, i, p.n_in);
    v = make_float4(v.x * w.x, v.y * w.y, v.z * w.z, v.w * w.w);
    if constexpr (Format::kInteger) {
      quantize_four(in.q + code_at<is_wide<Format>()>(i), in.scale + i / 32, v, true);
    } else {
      *reinterpret_cast<float4*>(in.x + i) = v;
    }
  });
  sum = warp_sum(sum);
  if (threadIdx.x % 32 == 0) in.scratch[threadIdx.x / 32] = sum;
}

template <class Format>
__global__ void __launch_bounds__(32 * kWarps, 2) bank_gemv_kernel(const __grid_constant__ BankGemvParams b) {
  extern __shared__ __align__(128) uint8_t shared[];
  const GemvParams& p = b.gemv;
  const GemvBlock<Format, 1> block(p, shared, blockIdx.x, gridDim.x);
  if (b.known == BankKnown::kEarly) {
    trigger_dependents();
  } else {
    wait_for_inputs();
    trigger_dependents();
  }
  const auto bank = static_cast<uint32_t>(__ldcg(b.bank));
  const int32_t map = b.ram != nullptr ? __ldcg(b.streams) : 0;
  WeightStream stream = block.stream(p.weights + bank * b.bank_bytes, p.n_units, p.n_stages);
  stream.start(b.keeps_bank);
  stage_norm(p, block.in);
  wait_for_inputs();
  const float residual = first_residual<1>(p, block);
  load_input<Format::kInteger, is_wide<Format>(), 1>(p, block.in);
  __syncthreads();
  float* const copy = b.ram != nullptr ? b.ram + stream_row(map_of(&map), 0) * p.part[0].n_rows : nullptr;
  multiply_block<Format, kWarps, 1>(p, block, stream, residual, copy);
}

template <class Format>
__global__ void __launch_bounds__(32 * kWarps, 2) routed_gemv_kernel(const __grid_constant__ BankGemvParams b) {
  extern __shared__ __align__(128) uint8_t shared[];
  __shared__ SwapRouteBlock<SwapRow<true>>::Shared routing;
  const bool is_first = blockIdx.x == 0;
  const GemvParams& p = b.gemv;
  const GemvBlock<Format, 1> block(p, shared, blockIdx.x, gridDim.x);
  SwapRouteBlock route(b.route, SwapRow<true>(b.route, 0), routing);
  route.fetch();
  stage_norm(p, block.in);
  wait_for_inputs();
  route.decide(is_first);
  // By the thread that wrote the bank, which is so seen by whatever starts behind the trigger. Before the copies:
  // behind them a fence takes until they have arrived.
  if (threadIdx.x == 0) {
    if (is_first) __threadfence();
    trigger_dependents();
  }
  WeightStream stream = block.stream(p.weights + route.bank() * b.bank_bytes, p.n_units, p.n_stages);
  stream.start(b.keeps_bank);
  load_routed<Format>(p, block.in, route, is_first ? b.route.out : nullptr);
  __syncthreads();
  for (uint32_t s = blockIdx.x; s < kStreams; s += gridDim.x) {
    if (s == route.target()) continue;
    float* const out = b.route.ram_out + s * p.n_in;
    for (uint32_t i = threadIdx.x; i < p.n_in; i += blockDim.x)
      out[i] = b.route.ram != nullptr ? b.route.ram[s * p.n_in + i] : 0;
  }
  multiply_block<Format, kWarps, 1>(p, block, stream, 0);
}

}  // namespace

PackedShape bank_shape(const ExpertShape& shape) {
  return packed_shape(shape.packed.type, uint64_t{shape.n_groups} * kGroupRows, shape.n_in);
}

GemvTuning tune_bank_gemv(const ExpertShape& shape, bool with_norm, const DeviceShape& device,
                          const GemvChoice& choice) {
  DeviceShape rest = device;
  rest.shared_bytes_per_block -= kStaticBytes;
  GemvChoice fixed = choice;
  fixed.n_warps = kWarps;
  if (fixed.ring_bytes == 0) fixed.ring_bytes = kRingBytes;
  return tune_gemv(bank_shape(shape), with_norm, rest, fixed);
}

void launch_bank_gemv(Queue& queue, const ExpertShape& shape, const GemvTuning& tuning, BankGemvParams params) {
  const PackedShape bank = bank_shape(shape);
  params.bank_bytes = shape.expert_bytes();
  params.gemv.n_in = static_cast<uint32_t>(bank.n_in);
  params.gemv.n_units = static_cast<uint32_t>(bank.n_units());
  params.gemv.n_groups = static_cast<uint32_t>(bank.n_groups());
  params.gemv.run_groups = tuning.run_groups;
  params.gemv.units_per_stage = tuning.units_per_stage;
  params.gemv.n_stages = tuning.n_stages;
  visit_packed(bank.type, [&](auto format) {
    using Format = decltype(format);
    launch_kernel(queue, params.known == BankKnown::kInside ? &routed_gemv_kernel<Format> : &bank_gemv_kernel<Format>,
                  dim3(tuning.n_blocks), 32 * tuning.n_warps, tuning.shared_bytes, params);
  });
}

void prepare_bank_gemv(const DeviceShape& device) {
  std::apply(
      [&](auto... format) {
        (prepare_kernel(&bank_gemv_kernel<decltype(format)>, device), ...);
        (prepare_kernel(&routed_gemv_kernel<decltype(format)>, device), ...);
      },
      PackedFormats{});
}

}  // namespace stretto::cuda
