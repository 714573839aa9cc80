// Routing kernels, and launch and tuning of device/expert_kernel.cuh.
//
// Router logits: of a small step a block per expert and row, which reads its weights before it waits; of a large one a
// block per 16 rows, threads take experts. Top k: a block per row. Sum: a thread per value.
#include <algorithm>

#include "base/checked.h"
#include "cuda/device/expert_kernel.cuh"

namespace stretto::cuda {
namespace {

// The ring of gate_up, and that of the sum, which fills beside it on the same SM.
constexpr uint32_t kRingBytes = 118 << 10, kSumRingBytes = 84 << 10;
constexpr uint32_t kStageBytes = 8192;
constexpr uint32_t kFewestWarps = 8;

constexpr uint32_t kLogitThreads = 256;

__global__ void __launch_bounds__(kLogitThreads) router_logits_kernel(RouterLogitsParams p) {
  constexpr uint32_t kEarly = 16;
  __shared__ float scratch[2][kLogitThreads / 32];
  trigger_dependents();
  const float* const w = p.w + uint64_t{blockIdx.x} * p.n_in;
  float factors[kEarly];
#pragma unroll
  for (uint32_t j = 0; j < kEarly; ++j) {
    const uint32_t i = threadIdx.x + j * kLogitThreads;
    factors[j] = i < p.n_in ? w[i] * p.norm[i] : 0;
  }
  wait_for_inputs();
  const float* const x = p.x + uint64_t{blockIdx.y} * p.n_in;
  float dot = 0, squares = 0;
#pragma unroll
  for (uint32_t j = 0; j < kEarly; ++j) {
    const uint32_t i = threadIdx.x + j * kLogitThreads;
    const float v = i < p.n_in ? x[i] : 0;
    dot += v * factors[j];
    squares += v * v;
  }
  for (uint32_t i = threadIdx.x + kEarly * kLogitThreads; i < p.n_in; i += kLogitThreads) {
    dot += x[i] * (w[i] * p.norm[i]);
    squares += x[i] * x[i];
  }
  dot = warp_sum(dot);
  squares = warp_sum(squares);
  if (threadIdx.x % 32 == 0) {
    scratch[0][threadIdx.x / 32] = dot;
    scratch[1][threadIdx.x / 32] = squares;
  }
  __syncthreads();
  delay_stores();
  if (threadIdx.x != 0) return;
  dot = squares = 0;
  for (uint32_t i = 0; i < kLogitThreads / 32; ++i) {
    dot += scratch[0][i];
    squares += scratch[1][i];
  }
  p.logits[uint64_t{blockIdx.y} * p.n_experts + blockIdx.x] = dot * rms_factor(squares, p.n_in, p.eps);
}

constexpr uint32_t kRowTile = 16, kExpertTile = 128, kColumnTile = 32;

// Grid: x over runs of rows, y over runs of experts. A thread has one expert and every other row.
__global__ void __launch_bounds__(2 * kExpertTile) router_rows_kernel(RouterLogitsParams p) {
  __shared__ __align__(16) float xs[kRowTile][kColumnTile];
  __shared__ float ws[kExpertTile][kColumnTile + 1], squares[kRowTile];
  trigger_dependents();
  wait_for_inputs();
  constexpr uint32_t kRows = kRowTile / 2;
  const uint32_t expert = threadIdx.x % kExpertTile, half = threadIdx.x / kExpertTile;
  const uint32_t first_row = blockIdx.x * kRowTile, first_expert = blockIdx.y * kExpertTile;
  float dot[kRows] = {}, square = 0;  // of row threadIdx.x / 16, its sixteenth part
  constexpr uint32_t kLoads = kColumnTile / 2;
  float next_w[kLoads], next_x[2];  // on their way while the tile before is used
  const auto load = [&](uint32_t k) {
#pragma unroll
    for (uint32_t j = 0; j < kLoads; ++j) {
      const uint32_t i = threadIdx.x + j * 2 * kExpertTile, e = first_expert + i / kColumnTile, c = k + i % kColumnTile;
      next_w[j] = e < p.n_experts && c < p.n_in ? p.w[uint64_t{e} * p.n_in + c] * p.norm[c] : 0;
    }
#pragma unroll
    for (uint32_t j = 0; j < 2; ++j) {
      const uint32_t i = 2 * threadIdx.x + j, r = first_row + i / kColumnTile, c = k + i % kColumnTile;
      next_x[j] = r < p.n_rows && c < p.n_in ? p.x[uint64_t{r} * p.n_in + c] : 0;
    }
  };
  load(0);
  for (uint32_t k = 0; k < p.n_in; k += kColumnTile) {
    __syncthreads();
#pragma unroll
    for (uint32_t j = 0; j < kLoads; ++j) {
      const uint32_t i = threadIdx.x + j * 2 * kExpertTile;
      ws[i / kColumnTile][i % kColumnTile] = next_w[j];
    }
#pragma unroll
    for (uint32_t j = 0; j < 2; ++j) {
      const uint32_t i = 2 * threadIdx.x + j;
      square += next_x[j] * next_x[j];
      xs[i / kColumnTile][i % kColumnTile] = next_x[j];
    }
    __syncthreads();
    if (k + kColumnTile < p.n_in) load(k + kColumnTile);
#pragma unroll
    for (uint32_t c = 0; c < kColumnTile; c += 4) {
      float w[4];
#pragma unroll
      for (uint32_t i = 0; i < 4; ++i) w[i] = ws[expert][c + i];
#pragma unroll
      for (uint32_t r = 0; r < kRows; ++r) {
        const float4 x = *reinterpret_cast<const float4*>(&xs[2 * r + half][c]);
        dot[r] += w[0] * x.x + w[1] * x.y + (w[2] * x.z + w[3] * x.w);
      }
    }
  }
#pragma unroll
  for (int mask = 8; mask > 0; mask /= 2) square += __shfl_xor_sync(0xffffffffu, square, mask);
  if (threadIdx.x % 16 == 0) squares[threadIdx.x / 16] = square;
  __syncthreads();
#pragma unroll
  for (uint32_t r = 0; r < kRows; ++r) {
    const uint32_t row = first_row + 2 * r + half;
    if (row < p.n_rows && first_expert + expert < p.n_experts)
      p.logits[uint64_t{row} * p.n_experts + first_expert + expert] =
          dot[r] * rms_factor(squares[2 * r + half], p.n_in, p.eps);
  }
}

constexpr uint32_t kThreads = 128;

__global__ void __launch_bounds__(kThreads) top_k_kernel(TopKParams p) {
  __shared__ __align__(16) uint8_t memory[Routing::bytes(kMaxRoutedExperts)];
  trigger_dependents();
  wait_for_inputs();
  Routing& routing = *reinterpret_cast<Routing*>(memory);
  const uint64_t row = blockIdx.x;
  routing.load(p.router, blockIdx.x);
  __syncthreads();
  routing.choose(p.router);
  __syncthreads();
  if (threadIdx.x >= 32) return;
  const float weight = routing.weigh(p.router, threadIdx.x);
  if (threadIdx.x >= p.router.top_k) return;
  p.ids[row * p.router.top_k + threadIdx.x] = static_cast<int32_t>(routing.ids[threadIdx.x]);
  p.weights[row * p.router.top_k + threadIdx.x] = weight;
}

// Grid: y over rows.
__global__ void __launch_bounds__(2 * kThreads) expert_sum_kernel(ExpertSumParams p) {
  trigger_dependents();
  wait_for_inputs();
  const uint64_t row = blockIdx.y;
  const float* const weights = p.weights + row * p.top_k;
  for (uint32_t i = blockIdx.x * blockDim.x + threadIdx.x; i < p.width; i += gridDim.x * blockDim.x) {
    float y = 0;
    for (uint32_t j = 0; j < p.top_k; ++j) y += weights[j] * p.x[(row * p.top_k + j) * p.width + i];
    p.out[row * p.width + i] = p.residual != nullptr ? p.residual[row * p.width + i] + y : y;
  }
}

template <class Format, bool kByWarp>
auto routing_kernel_of(ExpertMode mode) {
  return mode == ExpertMode::kGateUp ? &expert_gemv_kernel<Format, ExpertMode::kGateUp, kByWarp>
                                     : &expert_gemv_kernel<Format, ExpertMode::kSum, kByWarp>;
}
template <class Format>
auto kernel_of(ExpertMode mode, bool by_warp) {
  return mode == ExpertMode::kPlain ? &expert_gemv_kernel<Format, ExpertMode::kPlain, false>
         : by_warp                  ? routing_kernel_of<Format, true>(mode)
                                    : routing_kernel_of<Format, false>(mode);
}

bool is_integer(const ExpertShape& s) { return s.packed.unit.cols == IntegerUnit::kUnitCols; }

}  // namespace

ExpertShape expert_shape(const WeightInfo& w, bool gate_up) {
  ExpertShape s;
  s.n_experts = static_cast<uint32_t>(w.shape[0]);
  s.n_out = static_cast<uint32_t>(w.shape[1]);
  s.n_in = static_cast<uint32_t>(w.shape[2]);
  const uint32_t cols = unit_shape(w.type).cols;
  if (!gate_up && cols == IntegerUnit::kUnitCols && s.n_in % cols != 0 && 2 * s.n_in % cols == 0 && s.n_out % 2 == 0)
    s.fold = 2;
  s.n_groups = static_cast<uint32_t>(gate_up ? div_up(s.n_out, kGroupRows / 2) : div_up(s.n_out / s.fold, kGroupRows));
  s.packed = packed_shape(w.type, uint64_t{s.n_experts} * s.n_groups * kGroupRows, uint64_t{s.n_in} * s.fold);
  return s;
}

ExpertGemvTuning tune_expert_gemv(const ExpertShape& shape, ExpertMode mode, uint32_t top_k, bool shared_x,
                                  const DeviceShape& device, const ExpertChoice& choice) {
  const auto pick = [](uint32_t chosen, uint32_t otherwise) { return chosen != 0 ? chosen : otherwise; };
  const bool sum = mode == ExpertMode::kSum;
  ExpertGemvTuning t;
  const uint32_t n = sum ? shape.n_groups : shape.n_groups * top_k;
  t.n_blocks = std::min(n, device.n_sm);
  const auto items = static_cast<uint32_t>(div_up(n, t.n_blocks)) * (sum ? top_k : 1);
  // As few warps as share the items as well as the most would.
  const auto turns = [&](uint32_t n_warps) { return div_up(items, n_warps); };
  for (t.n_warps = kFewestWarps; turns(t.n_warps) > turns(kMaxExpertWarps);) ++t.n_warps;
  t.n_warps = pick(choice.n_warps, t.n_warps);
  const uint32_t unit = shape.packed.unit.bytes;
  t.units_per_stage = std::clamp(pick(choice.stage_bytes, kStageBytes) / unit, 1U, shape.n_units());
  const auto warp_stages = static_cast<uint32_t>(turns(t.n_warps) * div_up(shape.n_units(), t.units_per_stage));
  const uint32_t stage = t.units_per_stage * unit;
  const uint32_t ring = sum ? pick(choice.sum_ring_bytes, kSumRingBytes) : pick(choice.ring_bytes, kRingBytes);
  t.n_stages = std::clamp(ring / (stage * t.n_warps), 1U, warp_stages);
  const uint32_t norm = mode == ExpertMode::kGateUp ? shape.n_in : 0;
  const auto bytes = [&] {
    return ExpertLayout(is_integer(shape), shared_x ? 1 : top_k, shape.padded(), norm, t.n_warps,
                        4 * shape.fold * items, shape.n_experts, t.n_stages, stage * t.n_stages)
        .bytes;
  };
  while (t.n_stages > 1 && bytes() > device.shared_bytes_per_block) --t.n_stages;
  t.shared_bytes = bytes();
  if (sum) t.trigger = trigger_of(choice.trigger, Trigger::kAsked);
  return t;
}

uint32_t sum_pause_cycles(const ExpertShape& gate_up, const ExpertGemvTuning& gate_up_tuning,
                          const ExpertGemvTuning& sum_tuning, uint32_t top_k, const DeviceShape& device) {
  // Of pauses from 2000 to 14000 cycles on an H100, of 30B-A3B, 8200 was the best at depth 0 and 8600 at depth 8192.
  constexpr uint32_t kReservedBytes = 1024;  // of shared memory, by the system for every block
  if (gate_up_tuning.shared_bytes + sum_tuning.shared_bytes + 2 * kReservedBytes > device.shared_bytes_per_sm) return 0;
  return static_cast<uint32_t>(static_cast<double>(top_k * gate_up.expert_bytes()) /
                               (device.n_sm * device.peak_bytes_per_cycle));
}

void launch_expert_gemv(Queue& queue, const ExpertShape& shape, const ExpertGemvTuning& tuning, uint32_t n_rows,
                        ExpertGemvParams params) {
  params.expert_bytes = shape.expert_bytes();
  params.n_out = shape.n_out;
  params.n_in = shape.n_in;
  params.n_groups = shape.n_groups;
  params.n_units = shape.n_units();
  params.fold = shape.fold;
  params.units_per_stage = tuning.units_per_stage;
  params.n_stages = tuning.n_stages;
  params.trigger = tuning.trigger;
  if (!queue.dependent || n_rows > 1) params.pause_cycles = 0;
  visit_packed(shape.packed.type, [&](auto format) {
    launch_kernel(queue, kernel_of<decltype(format)>(params.mode, WarpChoice::can(params.router)),
                  dim3(tuning.n_blocks, n_rows), 32 * tuning.n_warps, tuning.shared_bytes, params);
  });
}

void launch_router_logits(Queue& queue, const RouterLogitsParams& params) {
  launch_kernel(queue, &router_logits_kernel, dim3(params.n_experts, params.n_rows), kLogitThreads, 0, params);
}

void launch_router_rows(Queue& queue, const RouterLogitsParams& params) {
  const dim3 grid((params.n_rows + kRowTile - 1) / kRowTile, (params.n_experts + kExpertTile - 1) / kExpertTile);
  launch_kernel(queue, &router_rows_kernel, grid, 2 * kExpertTile, 0, params);
}

void launch_top_k(Queue& queue, const TopKParams& params) {
  launch_kernel(queue, &top_k_kernel, dim3(params.n_rows), kThreads, 0, params);
}

void launch_expert_sum(Queue& queue, const ExpertSumParams& params) {
  const dim3 grid(std::min(8U, (params.width + 2 * kThreads - 1) / (2 * kThreads)), params.n_rows);
  launch_kernel(queue, &expert_sum_kernel, grid, 2 * kThreads, 0, params);
}

void prepare_experts(const DeviceShape& device) {
  for (const ExpertMode mode : {ExpertMode::kPlain, ExpertMode::kGateUp, ExpertMode::kSum})
    for (const bool by_warp : {false, true})
      std::apply([&](auto... format) { (prepare_kernel(kernel_of<decltype(format)>(mode, by_warp), device), ...); },
                 PackedFormats{});
  prepare_kernel(&router_logits_kernel, device);
}

}  // namespace stretto::cuda
