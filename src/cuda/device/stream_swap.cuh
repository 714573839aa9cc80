// The phases of a swap layer in the persistent stream.
//
//   kNormRow   the layer's norm: every block makes the sum, and writes its own part of the vector
//   kRoute     an event up to its FFN, in every block alike (device/swap_route.cuh): nothing is exchanged, the result
//              stays in shared memory for the product behind it, the feeder gets the bank
//   kCollapse  the end of the layer: decided by every block, which writes its own part of the residual stream
//   kState     the four rows and the map as the next token will find them
//
// Thread t of a block reads columns 4 t .. 4 t + 3 of every vector, and of every further 4 n_threads, in all of these:
// what it has waited for once, as the result of an event, it may read again as a row of memory.
#pragma once

#include "cuda/device/stream_linear.cuh"
#include "cuda/device/swap_route.cuh"

namespace stretto::cuda {

// All warps but the feeder.
struct StreamTeam {
  static constexpr uint32_t kWarps = kStreamWarps;
  __device__ __forceinline__ static void sync() { sync_block(); }
  __device__ __forceinline__ static bool sync_or(bool value) {
    uint32_t any;
    asm volatile("{ .reg .pred p, q; setp.ne.u32 p, %1, 0; barrier.cta.red.or.pred q, 1, %2, p; selp.u32 %0, 1, 0, q; }"
                 : "=r"(any)
                 : "r"(static_cast<uint32_t>(value)), "n"(kStreamThreads)
                 : "memory");
    return any != 0;
  }
};

// A vector of d floats, d a multiple of four, that other blocks write: elements i .. i + 3, zeros beyond.
struct StreamVector {
  const float* at;
  uint32_t d;
  const StreamTurn& turn;

  __device__ __forceinline__ float4 operator()(uint32_t i) const {
    float4 v = make_float4(0, 0, 0, 0);
    if (i >= d) return v;
    load_now(v, reinterpret_cast<const float4*>(at + i));
    await(v, reinterpret_cast<const float4*>(at + i), turn);
    return without_flags(v);
  }
};

// A row of memory, which is complete; `row` nullptr: zeros.
__device__ __forceinline__ float4 stream_memory_row(const float* row, uint32_t i, uint32_t d) {
  float4 v = make_float4(0, 0, 0, 0);
  if (row != nullptr && i < d) load_now(v, reinterpret_cast<const float4*>(row + i));
  return v;
}

// Elements of four that a block writes of a vector that all blocks have.
__device__ __forceinline__ bool is_own_quad(uint32_t i) { return i / 4 % gridDim.x == blockIdx.x; }

__device__ __forceinline__ float4 flagged(float4 v, uint32_t bit) {
  return make_float4(flagged(v.x, bit), flagged(v.y, bit), flagged(v.z, bit), flagged(v.w, bit));
}

// As SwapRow of device/swap_route.cuh.
class StreamRow {
 public:
  static constexpr bool kWhole = true;
  static constexpr bool kRowsEarly = false;  // the weights of the bank, asked for first, come later than one row
  using Team = StreamTeam;
  __device__ __forceinline__ StreamRow(const StreamRoute& p, const StreamTurn& turn, uint32_t position)
      : p_(p), v_{p.op.v, p.op.d, turn}, position_(position) {}

  __device__ __forceinline__ float4 v(uint32_t i) const { return v_(i); }
  __device__ __forceinline__ float4 v_again(uint32_t i) const {
    return without_flags(stream_memory_row(p_.op.v, i, p_.op.d));
  }
  __device__ __forceinline__ float4 ram(uint32_t s, uint32_t i) const {
    return without_flags(stream_memory_row(the_block().memory.row[s], i, p_.op.d));
  }
  __device__ __forceinline__ bool has_ram() const { return true; }  // rows of zeros have no exponents
  __device__ __forceinline__ uint32_t position() const { return position_; }
  __device__ __forceinline__ int32_t field(uint32_t f) const { return the_block().memory.field[f]; }
  __device__ __forceinline__ void put_field(uint32_t f, int32_t value) const { the_block().memory.field[f] = value; }
  __device__ __forceinline__ void put_bank(uint32_t bank) const {
    StreamMemory& memory = the_block().memory;
    memory.decision.put(++memory.n_routed, bank);
  }

 private:
  const StreamRoute& p_;
  const StreamVector v_;
  const uint32_t position_;
};
using StreamRouteBlock = SwapRouteBlock<StreamRow>;

struct CollapseScratch {
  float logits[kStreams];
  SharedDots<StreamTeam, true, kStreams>::Sums sums;
};

// Where the running phase keeps its logits and sums.
constexpr uint32_t kSwapScratchBytes = (sizeof(StreamRouteBlock::Shared) + 15) / 16 * 16;
inline uint32_t stream_swap_bytes(const StreamPhase& phase) {
  if (phase.kind == StreamKind::kCollapse) return sizeof(CollapseScratch);
  if (phase.kind != StreamKind::kRoute) return 0;
  return phase.route.kept + 4 * phase.route.padded + kSwapScratchBytes;
}

// The memory as the layer finds it: what the position before has left, or zeros.
__device__ __forceinline__ void begin_memory(const SwapRouteParams& p, uint32_t position) {
  StreamMemory& memory = the_block().memory;
  const uint32_t f = threadIdx.x;
  if (f < kStreams)
    memory.row[f] =
        position > 0 && p.ram != nullptr ? p.ram + ((uint64_t{position} - 1) * kStreams + f) * p.d : nullptr;
  if (f < kStreamFields)
    memory.field[f] =
        position > 0 && p.streams != nullptr ? __ldcg(p.streams + (uint64_t{position} - 1) * kStreamFields + f) : 0;
  sync_block();
}

__device__ __noinline__ void run_route(const StreamTurn turn, uint32_t position) {
  StreamBlock& block = the_block();
  const StreamRoute& p = block.phase[turn.phase % 2].route;
  const StreamLaps laps(turn);
  auto* const kept = reinterpret_cast<float*>(shared + block.params.at.work + p.kept);
  auto& scratch = *reinterpret_cast<StreamRouteBlock::Shared*>(kept + p.padded);
  StreamRouteBlock route(p.op, StreamRow(p, turn, position), scratch);
  route.fetch();
  if (p.begins) begin_memory(p.op, position);
  random_delay();
  route.decide(true);
  laps.lap(&StreamClock::input);
  const StreamShare own(p.down);
  route.for_each(p.padded, block.scratch, [&](uint32_t i, float4 v) {
    v = flagged(v, 1);  // valid, for whom there is no other flag
    *reinterpret_cast<float4*>(kept + i) = v;
    if (i < p.op.d && i / 4 - own.first_group < own.n_groups) *reinterpret_cast<float4*>(p.residual + i) = v;
  });
  sync_block();
  laps.lap(&StreamClock::work);
  if (threadIdx.x == 0) block.memory.row[route.target()] = p.result;
  laps.lap(&StreamClock::rest);
}

__device__ __noinline__ void run_norm_row(const StreamTurn turn) {
  StreamBlock& block = the_block();
  const StreamNormRow& p = block.phase[turn.phase % 2].norm_row;
  const StreamLaps laps(turn);
  const StreamVector x{p.x, p.d, turn};
  random_delay();
  float sum = 0;
#pragma unroll 1
  for (uint32_t i = 4 * threadIdx.x; i < p.d; i += 4 * kStreamThreads) sum += square4(x(i));
  sum = warp_sum(sum);
  if (threadIdx.x % 32 == 0) block.scratch[threadIdx.x / 32] = sum;
  sync_block();
  laps.lap(&StreamClock::input);
  sum = 0;
  for (uint32_t w = 0; w < kStreamWarps; ++w) sum += block.scratch[w];
  const float factor = rms_factor(sum, p.d, p.eps);
#pragma unroll 1
  for (uint32_t i = 4 * threadIdx.x; i < p.d; i += 4 * kStreamThreads) {
    if (!is_own_quad(i)) continue;
    const float4 v = x(i), w = load4<true>(p.weight, i, p.d);
    const float4 y = make_float4(v.x * factor * w.x, v.y * factor * w.y, v.z * factor * w.z, v.w * factor * w.w);
    store_now(reinterpret_cast<float4*>(p.out + i), flagged(y, turn.out));
  }
  laps.lap(&StreamClock::work);
}

__device__ __noinline__ void run_collapse(const StreamTurn turn, uint32_t position) {
  StreamBlock& block = the_block();
  const SwapCollapseParams& p = block.phase[turn.phase % 2].collapse.op;
  const StreamLaps laps(turn);
  auto& scratch = *reinterpret_cast<CollapseScratch*>(shared + block.params.at.work);
  const auto row_at = [&](uint32_t k) { return p.w + uint64_t{k} * p.d; };
  const StreamVector v{p.v, p.d, turn};
  SharedDots<StreamTeam, true, kStreams> dots;
  dots.fetch(row_at, kStreams, p.norm, p.d);
  random_delay();
  const float4 first = v(4 * threadIdx.x);
  laps.lap(&StreamClock::input);
  dots.finish(first, v, row_at, kStreams, p.norm, p.d, p.eps, scratch.sums,
              [&](uint32_t k, float dot) { scratch.logits[k] = dot + p.bias[k]; });
  sync_block();
  const LargestLogit own = largest_logit(scratch.logits, kStreams);
  const uint32_t stream = hooked_decision(p.hooks, position, own.index, own.lead, false);
  const float* const row = block.memory.row[stream_row(map_of(block.memory.field), stream)];
#pragma unroll 1
  for (uint32_t i = 4 * threadIdx.x; i < p.d; i += 4 * kStreamThreads) {
    if (!is_own_quad(i)) continue;
    float4 a;
    load_now(a, reinterpret_cast<const float4*>(p.residual + i));
    a = without_flags(a);
    const float4 b = without_flags(stream_memory_row(row, i, p.d));
    const float4 y = make_float4(a.x + b.x, a.y + b.y, a.z + b.z, a.w + b.w);
    store_now(reinterpret_cast<float4*>(p.out + i), flagged(y, turn.out));
  }
  laps.lap(&StreamClock::work);
}

// Whoever reads it, in the next token, has met all blocks at the end of this one.
__device__ __noinline__ void run_state(const StreamTurn turn, uint32_t position) {
  const StreamState& p = the_block().phase[turn.phase % 2].state;
  const StreamMemory& memory = the_block().memory;
  const StreamLaps laps(turn);
#pragma unroll 1
  for (uint32_t s = 0; s < kStreams && p.ram != nullptr; ++s) {
    float* const to = p.ram + (uint64_t{position} * kStreams + s) * p.d;
#pragma unroll 1
    for (uint32_t i = 4 * threadIdx.x; i < p.d; i += 4 * kStreamThreads)
      if (is_own_quad(i)) *reinterpret_cast<float4*>(to + i) = without_flags(stream_memory_row(memory.row[s], i, p.d));
  }
  if (p.streams != nullptr && blockIdx.x == 0 && threadIdx.x < kStreamFields)
    p.streams[uint64_t{position} * kStreamFields + threadIdx.x] = memory.field[threadIdx.x];
  laps.lap(&StreamClock::work);
}

__device__ __forceinline__ void swap_any(const StreamTurn& turn, StreamKind kind, uint32_t position) {
  if (kind == StreamKind::kRoute) {
    run_route(turn, position);
  } else if (kind == StreamKind::kNormRow) {
    run_norm_row(turn);
  } else if (kind == StreamKind::kCollapse) {
    run_collapse(turn, position);
  } else {
    run_state(turn, position);
  }
}

}  // namespace stretto::cuda
