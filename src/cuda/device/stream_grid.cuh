// Where all blocks of the persistent kernel meet, and how they wait for each other's vectors.
//
// A counter that only grows: a block adds one when its results are written and goes on when all have. Comparisons are
// by difference, so the counter may wrap. One thread of a block waits; the block's barriers pass what it has seen on.
#pragma once

#include "cuda/device/acquire.cuh"
#include "cuda/device/async_copy.cuh"
#include "cuda/device/dependency.cuh"
#include "cuda/stream.h"

namespace stretto::cuda {

// A condition that nearly always holds, for the compiler.
__device__ __forceinline__ bool is_usual(bool condition) { return __builtin_expect(condition, true); }

// The thread's number, read anew: what lived in a register across the calls of phases, which take all of them, would be
// spilled to memory that the vectors push out of the first-level cache (1-3 us a phase, measured).
__device__ __forceinline__ uint32_t thread_now() {
  uint32_t thread;
  asm volatile("mov.u32 %0, %%tid.x;" : "=r"(thread));
  return thread;
}

// All warps of the block but the feeder.
__device__ __forceinline__ void sync_block() { asm volatile("bar.sync 1, %0;" ::"n"(kStreamThreads) : "memory"); }

// The watchdog of a waiting thread.
struct StreamPatience {
  StreamControl* control;
  uint32_t phase;
  uint32_t spins = 0;
  long long begin = 0;

  // Whether to give up.
  __device__ __forceinline__ bool is_over() {
    if (++spins % 256 != 0) return false;
    const long long now = clock64();
    if (spins == 256) begin = now;
    const bool others = *reinterpret_cast<const volatile uint32_t*>(&control->late_phase) != 0;
    // Who waited about as long as the one whose patience ended first has a say in which phase it was.
    if (now - begin < static_cast<long long>(others ? kStreamPatience / 2 : kStreamPatience)) return others;
    atomicMax(&control->late_phase, ~phase);
    return true;
  }
};

// `target` is the count of arrivals that this meeting ends with.
class StreamGrid {
 public:
  __device__ StreamGrid(StreamControl* control, uint32_t target) : control_(control), target_(target) {}

  // The block's results are written.
  __device__ void arrive() const {
    random_delay();
    sync_block();
    if (threadIdx.x == 0) asm volatile("red.release.gpu.global.add.u32 [%0], 1;" ::"l"(&control_->arrived) : "memory");
  }

  // Until all blocks have arrived.
  __device__ void wait(uint32_t phase) const {
    random_delay();
    if (threadIdx.x == 0) {
      StreamPatience patience{control_, phase};
      while (static_cast<int32_t>(load_acquire(&control_->arrived) - target_) < 0)
        if (patience.is_over()) break;
    }
    sync_block();
  }

 private:
  StreamControl* const control_;
  const uint32_t target_;
};

// Who waits for a phase's vector, and the bits of StreamFlag.
struct StreamTurn {
  StreamControl* control;
  uint32_t phase;
  uint32_t in, out;     // bit of what is read and written
  uint32_t has_clocks;  // times of phases are kept
};

__device__ __forceinline__ float flagged(float v, uint32_t bit) {
  return __uint_as_float((__float_as_uint(v) & ~1u) | bit);
}
// Results must not depend on the number of tokens before them.
__device__ __forceinline__ float without_flag(float v) { return flagged(v, 0); }
__device__ __forceinline__ float4 without_flags(float4 v) {
  return make_float4(without_flag(v.x), without_flag(v.y), without_flag(v.z), without_flag(v.w));
}
__device__ __forceinline__ bool is_valid(float v, uint32_t bit) { return (__float_as_uint(v) & 1) == bit; }
__device__ __forceinline__ bool is_valid(float4 v, uint32_t bit) {
  const uint32_t all = __float_as_uint(v.x) & __float_as_uint(v.y) & __float_as_uint(v.z) & __float_as_uint(v.w),
                 any = __float_as_uint(v.x) | __float_as_uint(v.y) | __float_as_uint(v.z) | __float_as_uint(v.w);
  return ((bit != 0 ? all : ~any) & 1) != 0;
}

// A load that is neither moved nor served by the first-level cache.
__device__ __forceinline__ void load_now(float& v, const float* p) {
  asm volatile("ld.relaxed.gpu.global.f32 %0, [%1];" : "=f"(v) : "l"(p) : "memory");
}
__device__ __forceinline__ void load_now(float4& v, const float4* p) {
  asm volatile("ld.relaxed.gpu.global.v4.f32 {%0, %1, %2, %3}, [%4];"
               : "=f"(v.x), "=f"(v.y), "=f"(v.z), "=f"(v.w)
               : "l"(p)
               : "memory");
}

// A store of what other blocks look at while it is made: a plain one would be a data race.
__device__ __forceinline__ void store_now(float* p, float v) {
  asm volatile("st.relaxed.gpu.global.f32 [%0], %1;" ::"l"(p), "f"(v) : "memory");
}
__device__ __forceinline__ void store_now(float4* p, float4 v) {
  asm volatile("st.relaxed.gpu.global.v4.f32 [%0], {%1, %2, %3, %4};" ::"l"(p), "f"(v.x), "f"(v.y), "f"(v.z), "f"(v.w)
               : "memory");
}

// load_now() where `wanted`.
__device__ __forceinline__ void load_now_if(bool wanted, float4& v, const float4* p) {
  asm volatile("{ .reg .pred p; setp.ne.u32 p, %5, 0; @p ld.relaxed.gpu.global.v4.f32 {%0, %1, %2, %3}, [%4]; }"
               : "+f"(v.x), "+f"(v.y), "+f"(v.z), "+f"(v.w)
               : "l"(p), "r"(static_cast<uint32_t>(wanted))
               : "memory");
}

// What does not happen usually is a function of its own: code that is jumped over is fetched all the same.
static __device__ __noinline__ void await_copy_later(uint32_t barrier, uint32_t parity, StreamControl* control,
                                                     uint32_t phase) {
  StreamPatience patience{control, phase};
  while (!is_complete(barrier, parity) && !patience.is_over()) {
  }
}
static __device__ __noinline__ float4 await_later(const float4* p, uint32_t bit, StreamControl* control,
                                                  uint32_t phase) {
  StreamPatience patience{control, phase};
  float4 v;
  do {
    load_now(v, p);
  } while (!is_valid(v, bit) && !patience.is_over());
  return v;
}

// Until a copy has arrived.
__device__ __forceinline__ void await_copy(uint32_t barrier, uint32_t parity, const StreamTurn& turn) {
  if (!is_usual(is_complete(barrier, parity))) await_copy_later(barrier, parity, turn.control, turn.phase);
}

// Loads again until the value is there.
__device__ __forceinline__ void await(float4& v, const float4* p, const StreamTurn& turn) {
  if (!is_usual(is_valid(v, turn.in))) v = await_later(p, turn.in, turn.control, turn.phase);
}

// Loads all values j that has(j), of which value j lies at at(j), and those that are not there anew, together. For few
// readers: what everybody reads is better loaded anew one value after the other (docs/stream.md).
template <class T, uint32_t kMost, class Has, class At>
__device__ __forceinline__ void load_valid(T (&v)[kMost], const Has& has, const At& at, const StreamTurn& turn) {
  StreamPatience patience{turn.control, turn.phase};
#pragma unroll
  for (uint32_t j = 0; j < kMost; ++j)
    if (has(j)) load_now(v[j], at(j));
  while (true) {
    bool valid = true;
#pragma unroll
    for (uint32_t j = 0; j < kMost; ++j) valid = valid && (!has(j) || is_valid(v[j], turn.in));
    if (valid || patience.is_over()) break;
#pragma unroll
    for (uint32_t j = 0; j < kMost; ++j)
      if (has(j) && !is_valid(v[j], turn.in)) load_now(v[j], at(j));
  }
  __syncwarp();
}
template <uint32_t kMost, class At>
__device__ __forceinline__ void load_valid(float (&v)[kMost], const At& at, const StreamTurn& turn) {
  load_valid(
      v, [](uint32_t) { return true; }, at, turn);
}

// Order by value, then by the lower index.
__device__ __forceinline__ unsigned long long stream_key(float value, uint32_t index) {
  const uint32_t bits = __float_as_uint(value);
  const uint32_t ordered = (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
  return static_cast<unsigned long long>(ordered) << 32 | (0xffffffffu - index);
}

// Block 0 hands the token on: to the next launch and to the host.
template <class Params>
__device__ __forceinline__ void hand_out(const Params& p, int32_t token, uint32_t position) {
  *p.token = token;
  p.state->position = static_cast<int32_t>(position);
  const uint32_t n = p.state->n_generated + 1;
  p.state->n_generated = n;
  p.mailbox[n % p.mailbox_size] = uint64_t{n} << 32 | static_cast<uint32_t>(token);
}

}  // namespace stretto::cuda
