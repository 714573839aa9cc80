// What the phases of the persistent stream hand on to each other in shared memory, where a warp is in the loop, and the
// clocks of a phase.
#pragma once

#include "cuda/device/stream_grid.cuh"
#include "cuda/device/stream_ring.cuh"
#include "ops/swap_streams.h"

namespace stretto::cuda {

// Where a warp is: the token of the launch, the phase, and the arrivals at the last meeting of all blocks.
struct alignas(16) StreamLoop {
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

// Shared memory with a size known when compiled. Phases are functions of their own, and registers that live across
// calls would be spilled to memory that the rings push out of the first-level cache.
struct StreamBlock {
  StreamPhase phase[2];  // the running one and the next
  StreamMemory memory;
  StreamParams params;
  alignas(16) float scratch[32];
  unsigned long long best[kStreamWarps];
  StreamReader reader[kStreamWarps];
  StreamLoop loop[kStreamWarps];
  uint32_t n_read;                     // stages of all phases before the running one
  bool stop;                           // for the feeder
  uint32_t n_begun;                    // tokens of the launch behind the first one, also for the feeder
  long long clock;                     // at the end of the last measured part
  uint32_t token, position, n_before;  // of the running token; tokens since the vectors were cleared
  StreamRun run;                       // of attentions of this shape, in this token of the launch
  uint32_t run_shape, run_token;
};
__device__ __forceinline__ StreamBlock& the_block() { return *reinterpret_cast<StreamBlock*>(shared); }

// The warp's place in the loop, read anew as the thread's number is.
__device__ __forceinline__ volatile StreamLoop& place() { return the_block().loop[thread_now() / 32]; }
// Phase i of the running token.
__device__ __forceinline__ StreamTurn turn_of(uint32_t i) {
  const StreamBlock& block = the_block();
  const StreamPhase& phase = block.phase[i % 2];
  const auto bit = [&](const StreamFlag& f) { return (f.use + block.n_before * f.per_token + 1) & 1; };
  return {block.params.control, i, bit(phase.in), bit(phase.out), block.params.clocks != nullptr ? 1U : 0U};
}
__device__ __forceinline__ StreamTurn turn_now() { return turn_of(place().phase); }

// Keeps the time of thread 0 where clocks are wanted. Nothing lives in registers from one call to the next.
class StreamLaps {
 public:
  __device__ __forceinline__ explicit StreamLaps(const StreamTurn& turn) : turn_(turn) {
    lap(&StreamClock::wait);
    if (!is_usual(turn.has_clocks == 0) && threadIdx.x == 0) asm volatile("mov.u32 %0, %%smid;" : "=r"(clock().sm));
  }
  __device__ __forceinline__ void lap(uint32_t StreamClock::*part) const {
    if (!is_usual(turn_.has_clocks == 0) && threadIdx.x == 0) keep(clock().*part);
  }
  // How much of the ring is full, whose stages before number `n_read` are used up; by the last warp.
  __device__ __forceinline__ void note_ring(uint32_t n_read) const {
    if (!is_usual(turn_.has_clocks == 0) && threadIdx.x / 32 == kStreamWarps - 1) count_ring(clock().ring, n_read);
  }

 private:
  __device__ __forceinline__ StreamClock& clock() const {
    return the_block().params.clocks[turn_.phase * gridDim.x + blockIdx.x];
  }
  __device__ __noinline__ static void keep(uint32_t& cycles) {
    const long long now = clock64();
    cycles = static_cast<uint32_t>(now - the_block().clock);
    the_block().clock = now;
  }
  __device__ __noinline__ static void count_ring(uint32_t& n_complete, uint32_t n_read) {
    const StreamLayout& at = the_block().params.at;
    const uint32_t lane = threadIdx.x % 32;
    uint32_t place = n_read % at.n_stages + lane, round = n_read / at.n_stages, n = 0;
#pragma unroll 1
    for (uint32_t i = lane; i < at.n_stages; i += 32, place += 32) {
      if (place >= at.n_stages) {
        place -= at.n_stages;
        ++round;
      }
      n += is_complete_now(shared_address(shared + at.barriers) + 8 * place, round % 2) ? 1 : 0;
    }
    n = __reduce_add_sync(0xffffffffu, n);
    if (lane == 0) n_complete = n;
  }

  const StreamTurn& turn_;
};

}  // namespace stretto::cuda
