// Products of the persistent stream: the arithmetic of device/gemv_kernel.cuh, units from the rings.
//
// A block owns whole groups of rows; its warps take equal runs of the block's units. Activations were written by other
// blocks of the same launch: they are read past the first-level cache.
#pragma once

#include "cuda/device/gemv_kernel.cuh"
#include "cuda/device/quantize.cuh"
#include "cuda/device/stream_grid.cuh"
#include "cuda/device/stream_ring.cuh"
#include "ops/swap_streams.h"

namespace stretto::cuda {

// Where a warp is: the token of the launch, the phase, and the arrivals at the last meeting of all blocks.
struct StreamLoop {
  uint32_t token, phase, arrived;
};

// A block's view of the memory of the running swap layer: rows lie where the events that wrote them have left them, or
// in the state of the token before; nullptr: zeros.
struct StreamMemory {
  const float* row[kStreams];
  int32_t field[kStreamFields];
  uint32_t n_routed;  // events of the launch
  StreamDecision decision;
};

// Shared memory with a size known when compiled: what the phases hand on to each other. Phases are functions of their
// own, and registers that live across calls would be spilled to memory that the rings push out of the first-level
// cache.
struct StreamBlock {
  StreamPhase phase[2];  // the running one and the next
  StreamMemory memory;
  StreamParams params;
  float scratch[32];
  unsigned long long best[kStreamWarps];
  StreamReader reader[kStreamWarps];
  StreamLoop loop[kStreamWarps];
  uint32_t n_read;                     // stages of all phases before the running one
  bool stop;                           // for the feeder
  uint32_t n_begun;                    // tokens of the launch behind the first one, also for the feeder
  long long clock;                     // at the end of the last measured part
  uint32_t token, position, n_before;  // of the running token; tokens since the vectors were cleared
};
__device__ __forceinline__ StreamBlock& the_block() { return *reinterpret_cast<StreamBlock*>(shared); }

// The thread's number, read anew: what lived in a register across the calls of phases, which take all of them, would be
// spilled to memory that the vectors push out of the first-level cache (1-3 us a phase, measured).
__device__ __forceinline__ uint32_t thread_now() {
  uint32_t thread;
  asm volatile("mov.u32 %0, %%tid.x;" : "=r"(thread));
  return thread;
}
// The warp's place in the loop, read anew for the same reason.
__device__ __forceinline__ volatile StreamLoop& place() { return the_block().loop[thread_now() / 32]; }
// The running phase, likewise.
__device__ __forceinline__ StreamTurn turn_now() {
  const StreamBlock& block = the_block();
  const uint32_t i = place().phase;
  const StreamPhase& phase = block.phase[i % 2];
  const auto bit = [&](const StreamFlag& f) { return (f.use + block.n_before * f.per_token + 1) & 1; };
  return {block.params.control, i, bit(phase.in), bit(phase.out)};
}

// Where the input of a phase lies in shared memory.
__device__ __forceinline__ GemvInput input_of(const StreamLinear& p, StreamBlock& block, uint8_t* at) {
  return {nullptr,
          block.scratch,
          reinterpret_cast<int8_t*>(at),
          reinterpret_cast<float*>(at + p.padded),
          reinterpret_cast<float*>(at),
          p.padded};
}

// The norm's weights for the first elements of a thread, fetched while the block still waits.
struct StreamNorm {
  static constexpr uint32_t kAhead = 3;
  float4 w[kAhead];

  __device__ __forceinline__ explicit StreamNorm(const StreamLinear& p) {
#pragma unroll
    for (uint32_t j = 0; j < kAhead; ++j)
      w[j] = p.norm != nullptr ? at(p, 4 * threadIdx.x + j * 4 * kStreamThreads) : make_float4(1, 1, 1, 1);
  }
  __device__ __forceinline__ static float4 at(const StreamLinear& p, uint32_t i) {
    float4 v = make_float4(0, 0, 0, 0);
    // The first-level cache is small beside the rings and holds what threads spill.
    if (i < p.n_in)
      asm volatile("ld.global.nc.L1::no_allocate.v4.f32 {%0, %1, %2, %3}, [%4];"
                   : "=f"(v.x), "=f"(v.y), "=f"(v.z), "=f"(v.w)
                   : "l"(p.norm + i));
    return v;
  }
};

// Like load_input of device/gemv_input.cuh.
// With kBoth also in the order of formats that are not wide, behind the scales.
template <bool kInteger, bool kWide, bool kBoth>
__device__ __forceinline__ void load_stream_input(const StreamLinear& p, const StreamNorm& norm, const GemvInput& in,
                                                  const StreamTurn& turn) {
  random_delay();
  constexpr uint32_t kAtOnce = 7, kStride = 4 * kStreamThreads;
  float sum = 0;
  const bool has_norm = p.norm != nullptr;
  for (uint32_t first = 4 * threadIdx.x; first < in.padded; first += kAtOnce * kStride) {
    float4 x[kAtOnce] = {};
    const uint32_t n = first < p.n_in ? (p.n_in - first + kStride - 1) / kStride : 0;
    if (p.x == nullptr) {  // the thread has put it there itself, as valid
      const auto* const kept = reinterpret_cast<const float*>(shared + the_block().params.at.work + p.sums);
#pragma unroll
      for (uint32_t j = 0; j < kAtOnce; ++j)
        if (j < n) x[j] = *reinterpret_cast<const float4*>(kept + first + j * kStride);
    } else {
#pragma unroll
      for (uint32_t j = 0; j < kAtOnce; ++j)
        if (j < n) load_now(x[j], reinterpret_cast<const float4*>(p.x + first + j * kStride));
    }
#pragma unroll
    for (uint32_t j = 0; j < kAtOnce; ++j) {
      const uint32_t i = first + j * kStride;
      if (i >= in.padded) break;
      if (j < n) await(x[j], reinterpret_cast<const float4*>(p.x + i), turn);
      __syncwarp();
      float4 v = without_flags(x[j]);
      if (has_norm) {
        float4 w;
        if (j < StreamNorm::kAhead && first < kStride) {
          w = norm.w[j < StreamNorm::kAhead ? j : 0];
        } else {
          w = StreamNorm::at(p, i);
        }
        sum += square4(v);
        v = make_float4(v.x * w.x, v.y * w.y, v.z * w.z, v.w * w.w);
      }
      if constexpr (kInteger) {
        int8_t* const to = in.q + code_at<kWide>(i);
        quantize_four(to, in.scale + i / 32, v, true);
        if constexpr (kBoth)
          *reinterpret_cast<char4*>(in.q + p.padded / 8 * 9 + i) = *reinterpret_cast<const char4*>(to);
      } else {
        *reinterpret_cast<float4*>(in.x + i) = v;
      }
    }
  }
  if (!has_norm) return;
  sum = warp_sum(sum);
  if (threadIdx.x % 32 == 0) in.scratch[threadIdx.x / 32] = sum;
}

__device__ __forceinline__ float stream_norm_factor(const StreamLinear& p, const float* scratch) {
  if (p.norm == nullptr) return 1;
  float sum = 0;
#pragma unroll
  for (uint32_t w = 0; w < kStreamWarps; ++w) sum += scratch[w];
  return rms_factor(sum, p.n_in, p.eps);
}

// The warp's stages of one matrix, of which the first is number `begin`: four partial sums each.
template <class Format>
__device__ __forceinline__ void consume(StreamReader& reader, const StreamLayout& at, const StreamSegment& s,
                                        uint32_t begin, const GemvInput& in, float* sums, const StreamTurn& turn) {
  const uint32_t lane = threadIdx.x % 32, n = StreamShare(s).n_groups * s.parts;
  const uint32_t units_per_stage = s.units_per_stage, n_units = s.n_units, parts = s.parts;
  GemvAccumulator<Format> accumulator;
  uint32_t part = (reader.next - begin) % parts;
  for (uint32_t i = reader.next - begin; i < n;) {
    const uint32_t first = part * units_per_stage, end = min(first + units_per_stage, n_units);
    const uint8_t* unit = reader.acquire(at, turn);
    for (uint32_t u = first; u < end; ++u, unit += Format::kUnitBytes) accumulator.add(unit, in, u, lane);
    reader.release(at);
    const float y = accumulator.finish(lane);
    if (lane % 8 == 0) sums[4 * i + lane / 8] = y;
    const uint32_t next = reader.next - begin;
    part += next - i;
    i = next;
    while (part >= parts) part -= parts;
  }
}

// Order by value, then by the lower index.
__device__ __forceinline__ unsigned long long stream_key(float value, uint32_t index) {
  const uint32_t bits = __float_as_uint(value);
  const uint32_t ordered = (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
  return static_cast<unsigned long long>(ordered) << 32 | (0xffffffffu - index);
}

// One product's rows from its partial sums.
struct StreamRows {
  const float* sums;
  uint32_t parts;
  float factor;

  __device__ __forceinline__ float total(uint32_t local_row) const {
    const float* at = sums + local_row / 4 * 4 * parts + local_row % 4;
    float y = at[0];
    for (uint32_t i = 1; i < parts; ++i) y += at[4 * i];
    return y * factor;
  }
};

// Writes the rows of product `i`; the largest key of a head's rows.
__device__ __forceinline__ unsigned long long store_rows(const StreamLinear& p, uint32_t i, const StreamRows& rows,
                                                         uint32_t bit, float residual) {
  const StreamProduct& product = p.product[i];
  const StreamShare share(product.segment);
  unsigned long long key = 0;
  if (p.gate_up) {
    for (uint32_t j = threadIdx.x; j < 2 * share.n_groups; j += kStreamThreads) {
      const uint32_t o = 2 * share.first_group + j, gate_row = 4 * (j / 2) + j % 2;
      if (o >= p.part[0].n_rows) continue;
      const float gate = rows.total(gate_row) + (p.part[0].bias != nullptr ? p.part[0].bias[o] : 0);
      const float up = rows.total(gate_row + 2) + (p.part[1].bias != nullptr ? p.part[1].bias[o] : 0);
      p.part[0].out[o] = flagged(activate(p.act, gate) * up, bit);
    }
    return key;
  }
  for (uint32_t j = threadIdx.x; j < 4 * share.n_groups; j += kStreamThreads) {
    uint32_t row = 4 * share.first_group + j;
    if (p.residual != nullptr && j != threadIdx.x && row < p.part[0].n_rows) load_now(residual, p.residual + row);
    float y = rows.total(j) + without_flag(residual);
#pragma unroll
    for (uint32_t k = 0; k < 3; ++k) {
      if (k < product.first_part || k >= product.first_part + product.n_parts) continue;
      const GemvPart& part = p.part[k];
      if (row < part.n_rows) {
        if (part.bias != nullptr) y += part.bias[row];
        part.out[row] = p.is_head ? y : flagged(y, bit);
        if (p.is_head) key = max(key, stream_key(y, row));
        break;
      }
      row -= part.n_rows;
    }
  }
  return key;
}

// Keeps the time of thread 0 where clocks are wanted. Nothing lives in registers from one call to the next.
class StreamLaps {
 public:
  __device__ __forceinline__ StreamLaps() {
    lap(&StreamClock::wait);
    if (is_kept(0)) asm volatile("mov.u32 %0, %%smid;" : "=r"(clock().sm));
  }
  __device__ __forceinline__ static void lap(uint32_t StreamClock::*part) {
    if (!is_kept(0)) return;
    const long long now = clock64();
    clock().*part = static_cast<uint32_t>(now - the_block().clock);
    the_block().clock = now;
  }
  // How much of the ring is full, whose stages before number `n_read` are used up; by the last warp.
  __device__ __forceinline__ static void note_ring(const StreamLayout& at, uint32_t n_read) {
    if (!is_kept(kStreamWarps - 1)) return;
    const uint32_t lane = threadIdx.x % 32;
    uint32_t place = n_read % at.n_stages + lane, round = n_read / at.n_stages, n = 0;
    for (uint32_t i = lane; i < at.n_stages; i += 32, place += 32) {
      if (place >= at.n_stages) {
        place -= at.n_stages;
        ++round;
      }
      n += is_complete_now(shared_address(shared + at.barriers) + 8 * place, round % 2) ? 1 : 0;
    }
    n = __reduce_add_sync(0xffffffffu, n);
    if (lane == 0) clock().ring = n;
  }

 private:
  // By thread 0, or by the whole of another warp.
  __device__ __forceinline__ static bool is_kept(uint32_t warp) {
    return the_block().params.clocks != nullptr && threadIdx.x / 32 == warp && (warp != 0 || threadIdx.x == 0);
  }
  __device__ __forceinline__ static StreamClock& clock() {
    return the_block().params.clocks[place().phase * gridDim.x + blockIdx.x];
  }
};

// The block's share of a phase's products; the second format is void for one product. The largest key of a head's rows
// meets those of the other blocks.
template <class First, class Second>
__device__ __noinline__ void run_linear(const StreamTurn turn, unsigned long long* best) {
  const uint32_t phase = turn.phase;
  StreamBlock& block = the_block();
  const StreamLinear& p = block.phase[phase % 2].linear;
  const StreamLaps laps;
  const StreamNorm norm(p);
  const GemvInput in = input_of(p, block, shared + block.params.at.work);
  float* const sums = reinterpret_cast<float*>(shared + block.params.at.work + p.sums);
  float residual = 0;
  const StreamShare share(p.product[0].segment);
  {
    const uint32_t row = 4 * share.first_group + threadIdx.x;
    if (p.residual != nullptr && threadIdx.x < 4 * share.n_groups && row < p.part[0].n_rows)
      load_now(residual, p.residual + row);
  }
  load_stream_input<First::kInteger, is_wide<First>(), !std::is_void_v<Second>>(p, norm, in, turn);
  sync_block();
  laps.lap(&StreamClock::input);
  const StreamLayout at = block.params.at;
  laps.note_ring(at, block.n_read);
  const uint32_t begin = block.n_read, n_first = share.n_groups * p.product[0].segment.parts;
  uint32_t n_second = 0;
  StreamReader reader = block.reader[threadIdx.x / 32];
  consume<First>(reader, at, p.product[0].segment, begin, in, sums, turn);
  if constexpr (!std::is_void_v<Second>) {
    static_assert(!is_wide<Second>());
    GemvInput second = in;
    second.q += p.padded / 8 * 9;
    consume<Second>(reader, at, p.product[1].segment, begin + n_first, second, sums + 4 * n_first, turn);
    n_second = StreamShare(p.product[1].segment).n_groups * p.product[1].segment.parts;
  }
  __syncwarp();
  if (threadIdx.x % 32 == 0) block.reader[threadIdx.x / 32] = reader;
  sync_block();
  if (threadIdx.x == 0) block.n_read = begin + n_first + n_second;
  laps.lap(&StreamClock::work);
  const float factor = stream_norm_factor(p, block.scratch);
  unsigned long long key = store_rows(p, 0, {sums, p.product[0].segment.parts, factor}, turn.out, residual);
  if constexpr (!std::is_void_v<Second>)
    store_rows(p, 1, {sums + 4 * n_first, p.product[1].segment.parts, factor}, turn.out, 0);
  if (p.is_head && best != nullptr) {
#pragma unroll
    for (int mask = 16; mask > 0; mask /= 2) key = max(key, __shfl_xor_sync(0xffffffffu, key, mask));
    if (threadIdx.x % 32 == 0) block.best[threadIdx.x / 32] = key;
    sync_block();
    if (threadIdx.x == 0) {
      for (uint32_t w = 1; w < kStreamWarps; ++w) key = max(key, block.best[w]);
      atomicMax(best, key);
    }
  }
  laps.lap(&StreamClock::rest);
}

}  // namespace stretto::cuda
