// One row times the experts that it chose (cuda/experts.h).
//
// Parallel over: blocks take equal runs of (choice, group of rows) items, choice by choice, or where the choices are
// summed, equal runs of groups with all their choices; warps take equal runs of a block's items, lanes take columns.
// Bytes: the chosen experts' weights once (the floor), the input once per block, the result.
// The stream of weights can start once the choice is known. The gate_up kernel learns it from the kernel in front of
// it, so it waits first, and triggers its dependents only then: the kernel behind it, which sums, thereby finds the
// same logits complete before its own wait, and fills its ring while gate_up still works, but not before gate_up's
// weights should have been read (sum_pause_cycles()).
// Sums: as in device/gemv_kernel.cuh, and over the choices in their order. All fixed.
// Limits: the input vectors and the ring in shared memory together.
#pragma once

#include "cuda/device/expert_stream.cuh"
#include "cuda/device/gemv_kernel.cuh"
#include "cuda/device/top_k.cuh"

namespace stretto::cuda {

constexpr uint32_t kMaxExpertWarps = 16;
constexpr uint32_t kNormFactor = 31;  // its place in GemvInput::scratch, behind the sums of the warps

// Shared memory of a block, in order; every part is a multiple of 16 bytes.
struct ExpertLayout {
  uint32_t norm, scratch, x, scale, sums, routing, barriers, ring, bytes;

  __host__ __device__ ExpertLayout(bool integer, uint32_t n_vectors, uint32_t padded, uint32_t norm_elements,
                                   uint32_t n_warps, uint32_t n_sums, uint32_t n_experts, uint32_t n_stages,
                                   uint32_t ring_bytes) {
    uint32_t at = 0;
    const auto take = [&at](uint32_t bytes) {
      const uint32_t begin = at;
      at += (bytes + 15) / 16 * 16;
      return begin;
    };
    norm = take(4 * norm_elements);
    scratch = take(128);
    x = take(n_vectors * padded * (integer ? 1 : 4));
    scale = take(integer ? n_vectors * padded / 8 : 0);
    sums = take(4 * n_sums);
    routing = take(Routing::bytes(n_experts));
    barriers = take(8 * n_stages * n_warps);
    ring = (at + 127) / 128 * 128;
    bytes = ring + ring_bytes * n_warps;
  }
};

// The quantised codes and, by the first of eight lanes, the scale of elements at .. at + 3 of a vector.
template <class Format>
__device__ __forceinline__ void store_codes(const GemvInput& in, uint32_t at, uint32_t codes, float scale) {
  *reinterpret_cast<uint32_t*>(in.q + code_at<is_wide<Format>()>(at)) = codes;
  if (threadIdx.x % 8 == 0) in.scale[at / 32] = scale;
}

// The vectors of all choices, each in n_units units of its own; of a folded matrix twice, one behind the other. A warp
// takes pieces of 128 elements in turn. Where the first ones are is worked out before the wait, and all are on their
// way before the first is used.
template <class Format>
class ChosenVectors {
 public:
  __device__ __forceinline__ explicit ChosenVectors(const ExpertGemvParams& p)
      : column_(128 * (threadIdx.x / 32)), width_(p.fold == 2 ? p.n_in : p.n_units * Format::kUnitCols) {
    locate(p);
  }
  __device__ __forceinline__ void load(const ExpertGemvParams& p, const float* x, const GemvInput& in) {
    if constexpr (Format::kInteger) {
      while (from_[0] != kNone) {
        float4 v[kAtOnce];
#pragma unroll
        for (uint32_t j = 0; j < kAtOnce; ++j)
          v[j] = from_[j] < kPadding ? *reinterpret_cast<const float4*>(x + from_[j]) : make_float4(0, 0, 0, 0);
#pragma unroll
        for (uint32_t j = 0; j < kAtOnce; ++j) {
          if (from_[j] == kNone) return;  // whole warps
          const BlockScale b = scale_of(top_of_eight(v[j]));
          const uint32_t codes = quantize(v[j], b.inverse);
          store_codes<Format>(in, to_[j], codes, b.scale);
          if (p.fold == 2) store_codes<Format>(in, to_[j] + width_, codes, b.scale);
        }
        locate(p);
      }
    } else {
      for (uint32_t slot = 0; slot < p.router.top_k; ++slot)
        for (uint32_t i = threadIdx.x; i < width_; i += blockDim.x)
          in.x[slot * width_ + i] = i < p.n_in ? x[slot * p.n_in + i] : 0;
    }
  }

 private:
  static constexpr uint32_t kAtOnce = 4, kNone = UINT32_MAX, kPadding = UINT32_MAX - 1;

  // Without a fold the columns behind n_in become zeros; with one there are none.
  __device__ __forceinline__ void locate(const ExpertGemvParams& p) {
    if constexpr (Format::kInteger) {
#pragma unroll
      for (uint32_t j = 0; j < kAtOnce; ++j) {
        for (; column_ >= width_; column_ -= width_) ++slot_;
        const uint32_t column = column_ + 4 * (threadIdx.x % 32);
        to_[j] = slot_ * p.n_units * Format::kUnitCols + column;
        from_[j] = column < p.n_in ? slot_ * p.n_in + column : kPadding;
        if (slot_ >= p.router.top_k) from_[j] = kNone;
        column_ += 4 * blockDim.x;
      }
    }
  }

  uint32_t slot_ = 0, column_;
  const uint32_t width_;
  uint32_t from_[kAtOnce], to_[kAtOnce];
};

// One vector for all choices, with its norm as in load_input(). It is fetched before the stream of weights begins, for
// behind that it would wait for all that is under way, and quantised while the first weights are on their way.
template <class Format>
class SharedVector {
 public:
  __device__ __forceinline__ void fetch(const ExpertGemvParams& p, const float* x) {
#pragma unroll
    for (uint32_t j = 0; j < kEarly; ++j)
      v_[j] = load4<Format::kInteger>(x, 4 * (threadIdx.x + j * blockDim.x), p.n_in);
  }
  __device__ __forceinline__ void store(const ExpertGemvParams& p, const float* x, const GemvInput& in) {
    if (p.norm != nullptr) asm volatile("cp.async.wait_all;" ::: "memory");
    float sum = 0;
#pragma unroll
    for (uint32_t j = 0; j < kEarly; ++j) store4(p, in, 4 * (threadIdx.x + j * blockDim.x), v_[j], sum);
    for (uint32_t i = 4 * (threadIdx.x + kEarly * blockDim.x); i < in.padded; i += 4 * blockDim.x)
      store4(p, in, i, load4<Format::kInteger>(x, i, p.n_in), sum);
    if (p.norm == nullptr) return;
    sum = warp_sum(sum);
    if (threadIdx.x % 32 == 0) in.scratch[threadIdx.x / 32] = sum;
  }

 private:
  static constexpr uint32_t kEarly = 2;

  __device__ __forceinline__ static void store4(const ExpertGemvParams& p, const GemvInput& in, uint32_t i, float4 v,
                                                float& sum) {
    if (i >= in.padded) return;  // whole warps: units have 128 columns and more
    if (p.norm != nullptr) {
      const float4 w = load4<Format::kInteger>(p.n_in % 4 == 0 ? in.norm : p.norm, i, p.n_in);
      sum += square4(v);
      v = make_float4(v.x * w.x, v.y * w.y, v.z * w.z, v.w * w.w);
    }
    if constexpr (Format::kInteger) {
      quantize_four(in.q + code_at<is_wide<Format>()>(i), in.scale + i / 32, v, true);
    } else {
      *reinterpret_cast<float4*>(in.x + i) = v;
    }
  }

  float4 v_[kEarly];
};

// The factor of a norm from its sums, by one warp: behind SharedVector::store() and a barrier, for what reads it behind
// another one. Work for the time in which the first weights are on their way: at the end of the kernel it took 2 us of
// a layer, where the instructions themselves have to be fetched behind the next kernel's stream.
__device__ __forceinline__ void join_norm(const ExpertGemvParams& p, const GemvInput& in) {
  const uint32_t lane = threadIdx.x % 32;
  const float sum = warp_sum(lane < blockDim.x / 32 ? in.scratch[lane] : 0);
  if (lane == 0) in.scratch[kNormFactor] = p.norm != nullptr ? rms_factor(sum, p.n_in, p.eps) : 1;
}

// What a folded group needs beside its sums: the part of the first of two rows that share a packed one.
template <class Format>
struct FoldedSums {
  float sum[4] = {0, 0, 0, 0};

  // Around unit `u`, in which the second row begins: its lanes before, the others behind.
  __device__ __forceinline__ void take(GemvAccumulator<Format>& a, uint32_t n_in, uint32_t lane, bool second) {
    const uint32_t column = is_wide<Format>() ? 32 * (lane % 16) : 16 * lane;
    if ((column >= n_in % 512) != second) return;
#pragma unroll
    for (int r = 0; r < 4; ++r) {
      sum[r] = a.sum[0][r];
      a.sum[0][r] = 0;
    }
  }
};

// The sums of one item go to out[4 * fold], rows in order.
template <class Format, class Stream, class Next>
__device__ __forceinline__ void multiply_item(const ExpertGemvParams& p, Stream& stream, const Next& next,
                                              const GemvInput& in, uint32_t first_unit, uint32_t lane, float* out) {
  GemvAccumulator<Format> sums;
  FoldedSums<Format> folded;
  const uint32_t boundary = p.fold == 2 ? p.n_in / 512 : UINT32_MAX;
  for (uint32_t done = 0; done < p.n_units; done += p.units_per_stage) {
    const uint8_t* unit = stream.acquire();
    const uint32_t end = min(done + p.units_per_stage, p.n_units);
    for (uint32_t u = done; u < end; ++u, unit += Format::kUnitBytes) {
      if (u == boundary) folded.take(sums, p.n_in, lane, true);
      sums.add(unit, in, first_unit + u, lane);
      if (u == boundary) folded.take(sums, p.n_in, lane, false);
    }
    stream.release(next);
  }
  const float y = sums.finish(lane);
  if (p.fold == 1) {
    if (lane % 8 == 0) out[lane / 8] = y;
    return;
  }
#pragma unroll
  for (int r = 0; r < 4; ++r) sums.sum[0][r] = folded.sum[r];
  const float first = sums.finish(lane);
  if (lane % 8 == 0) *reinterpret_cast<float2*>(out + lane / 4) = make_float2(first, y);
}

// An item: a group of rows of one choice. Of a run choice by choice, or group by group where choices are summed.
template <ExpertMode kMode>
struct ExpertItem {
  uint32_t slot, group;

  __device__ __forceinline__ void step(const ExpertGemvParams& p) {
    if constexpr (kMode == ExpertMode::kSum) {
      if (++slot == p.router.top_k) slot = 0, ++group;
    } else {
      if (++group == p.n_groups) group = 0, ++slot;
    }
  }
  // Without a division, for runs that begin in the middle of few groups.
  __device__ __forceinline__ ExpertItem behind(const ExpertGemvParams& p, uint32_t n) const {
    ExpertItem out{slot, group + n};
    for (; out.group >= p.n_groups; out.group -= p.n_groups) ++out.slot;
    return out;
  }
};

// The items of a block.
template <ExpertMode kMode>
struct ExpertItems {
  using Item = ExpertItem<kMode>;
  Item first;
  uint32_t n;

  __device__ __forceinline__ ExpertItems(const ExpertGemvParams& p, uint32_t block, uint32_t n_blocks) {
    constexpr bool summed = kMode == ExpertMode::kSum;
    const uint32_t all = summed ? p.n_groups : p.router.top_k * p.n_groups;
    const uint32_t begin = block * all / n_blocks;
    n = ((block + 1) * all / n_blocks - begin) * (summed ? p.router.top_k : 1);
    first = summed ? Item{0, begin} : Item{begin / p.n_groups, begin % p.n_groups};
  }
  __device__ __forceinline__ Item at(const ExpertGemvParams& p, uint32_t i) const {
    if constexpr (kMode != ExpertMode::kSum) return first.behind(p, i);
    return {i % p.router.top_k, first.group + i / p.router.top_k};
  }
};

// What the threads of a block do with its sums; `weights` are those of the choices.
template <ExpertMode kMode>
__device__ __forceinline__ void store_items(const ExpertGemvParams& p, const ExpertItems<kMode>& items,
                                            const float* sums, const float* weights, float factor, float residual) {
  const uint32_t shift = p.fold + 1, item_rows = 1U << shift;  // 4 or 8
  const uint64_t row = blockIdx.y;
  if constexpr (kMode == ExpertMode::kGateUp) {
    for (uint32_t i = threadIdx.x; i < 2 * items.n; i += blockDim.x) {
      const auto item = items.first.behind(p, i / 2);
      const uint32_t o = 2 * item.group + i % 2;
      if (o >= p.n_out) continue;
      const float gate = sums[4 * (i / 2) + i % 2] * factor, up = sums[4 * (i / 2) + 2 + i % 2] * factor;
      p.out[(row * p.router.top_k + item.slot) * p.n_out + o] = activate(p.act, gate) * up;
    }
  } else if constexpr (kMode == ExpertMode::kPlain) {
    for (uint32_t i = threadIdx.x; i < items.n << shift; i += blockDim.x) {
      const auto item = items.first.behind(p, i >> shift);
      const uint32_t o = (item.group << shift) + i % item_rows;
      if (o < p.n_out) p.out[(row * p.router.top_k + item.slot) * p.n_out + o] = sums[i];
    }
  } else {
    const uint32_t top_k = p.router.top_k;
    for (uint32_t i = threadIdx.x; (i >> shift) * top_k < items.n; i += blockDim.x) {
      const uint32_t o = (items.first.group << shift) + i;
      if (o >= p.n_out) continue;
      if (p.residual != nullptr && i != threadIdx.x) residual = p.residual[row * p.n_out + o];
      const float* const own = sums + ((i >> shift) * top_k << shift) + i % item_rows;
      float y = 0;
#pragma unroll 4
      for (uint32_t j = 0; j < top_k; ++j) y += weights[j] * own[j << shift];
      p.out[row * p.n_out + o] = residual + y;
    }
  }
}

// Returns when so many cycles have passed since `begin`.
__device__ __forceinline__ void pause_from(uint64_t begin, uint32_t cycles) {
#if __CUDA_ARCH__ >= 900
  while (static_cast<uint64_t>(clock64()) - begin < cycles) {
  }
#endif
}

// Registers for two blocks of sixteen warps side by side. With kByWarp every warp chooses for itself (WarpChoice): the
// other way in the same kernel, 9 KB of code in the middle of it, costs 0.4 % of a token of 30B-A3B.
template <class Format, ExpertMode kMode, bool kByWarp>
__global__ void __launch_bounds__(32 * kMaxExpertWarps, 2)
    expert_gemv_kernel(const __grid_constant__ ExpertGemvParams p) {
  extern __shared__ __align__(128) uint8_t shared[];
  const uint32_t n_warps = blockDim.x / 32, warp = threadIdx.x / 32, lane = threadIdx.x % 32, row = blockIdx.y;
  constexpr bool kGateUp = kMode == ExpertMode::kGateUp, kSum = kMode == ExpertMode::kSum;
  const bool shares_x = kGateUp || (!kSum && p.shared_x);
  [[maybe_unused]] uint64_t begin_cycle = 0;
  if constexpr (kSum) begin_cycle = static_cast<uint64_t>(clock64());
  WarpChoice choice;
  // Asked for before anything else: behind the stream of gate_up, which starts meanwhile, it would take 4 us.
  if (kSum && kByWarp) choice.fetch_early(p.router, row, lane);
  if (!kGateUp && p.trigger == Trigger::kEntry) trigger_dependents();
  const ExpertItems<kMode> items(p, blockIdx.x, gridDim.x);
  const uint32_t padded = p.n_units * Format::kUnitCols, n_vectors = shares_x ? 1 : p.router.top_k;
  const StreamShape shape{Format::kUnitBytes, p.units_per_stage, p.n_stages};
  const uint32_t most_items = kSum ? (p.n_groups + gridDim.x - 1) / gridDim.x * p.router.top_k
                                   : (p.n_groups * p.router.top_k + gridDim.x - 1) / gridDim.x;
  const ExpertLayout at(Format::kInteger, n_vectors, padded, p.norm != nullptr ? p.n_in : 0, n_warps,
                        4 * p.fold * most_items, p.router.n_experts, p.n_stages, shape.ring_bytes());
  auto* const sums = reinterpret_cast<float*>(shared + at.sums);
  Routing& routing = *reinterpret_cast<Routing*>(shared + at.routing);
  const GemvInput in{reinterpret_cast<float*>(shared + at.norm), reinterpret_cast<float*>(shared + at.scratch),
                     reinterpret_cast<int8_t*>(shared + at.x),   reinterpret_cast<float*>(shared + at.scale),
                     reinterpret_cast<float*>(shared + at.x),    padded};
  GemvParams input;
  input.n_in = p.n_in;
  input.x = p.x + uint64_t{row} * n_vectors * p.n_in;
  input.norm = p.norm;
  input.eps = p.eps;

  const uint32_t begin = warp * items.n / n_warps, end = (warp + 1) * items.n / n_warps;
  auto item = items.at(p, begin), to_copy = item;
  const auto address_of = [&](uint32_t expert) {
    const uint8_t* const out =
        p.weights + expert * p.expert_bytes + uint64_t{to_copy.group} * p.n_units * Format::kUnitBytes;
    to_copy.step(p);
    return out;
  };
  ExpertStream stream(shape, shared + at.ring + warp * shape.ring_bytes(),
                      reinterpret_cast<uint64_t*>(shared + at.barriers) + warp * p.n_stages, p.n_units, end - begin);
  stage_norm(input, in);
  if (!kSum) wait_for_inputs();
  if (kGateUp) trigger_dependents();
  if (!kSum && kByWarp) choice.fetch(p.router, row, lane);
  SharedVector<Format> shared_x;
  if (shares_x) shared_x.fetch(p, input.x);
  if constexpr (kByWarp) {
    choice.choose(p.router, lane);
    if (warp == 0 && lane < p.router.top_k) routing.ids[lane] = choice.own_id();
  } else {
    routing.load(p.router, row);
    __syncthreads();
    routing.choose(p.router);
    __syncthreads();
    choice.take(routing, lane);
  }
  if constexpr (kSum) pause_from(begin_cycle, p.pause_cycles);
  stream.start([&] { return address_of(choice.id(to_copy.slot)); });
  if (kSum && warp == 0) routing.weights[lane] = kByWarp ? choice.weigh(p.router, lane) : routing.weigh(p.router, lane);
  float residual = 0;
  ChosenVectors<Format> chosen_x(p);
  if (!kGateUp && p.trigger == Trigger::kAsked) trigger_dependents();
  if (kSum) wait_for_inputs();
  if (kSum && p.residual != nullptr && 4 * p.fold * items.first.group + threadIdx.x < p.n_out)
    residual = p.residual[uint64_t{row} * p.n_out + 4 * p.fold * items.first.group + threadIdx.x];
  if (shares_x) {
    shared_x.store(p, input.x, in);
  } else {
    chosen_x.load(p, input.x, in);
  }
  __syncthreads();
  if (kGateUp && warp == n_warps - 1) join_norm(p, in);
  const auto next_address = [&] { return address_of(routing.ids[to_copy.slot]); };
  if (!kGateUp && p.trigger == Trigger::kInput) trigger_dependents();
  for (uint32_t i = begin; i < end; ++i, item.step(p))
    multiply_item<Format>(p, stream, next_address, in, shares_x ? 0 : item.slot * p.n_units, lane,
                          sums + 4 * p.fold * i);
  __syncthreads();
  delay_stores();
  store_items(p, items, sums, routing.weights, kGateUp ? in.scratch[kNormFactor] : 1, residual);
}

}  // namespace stretto::cuda
