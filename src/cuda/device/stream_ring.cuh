// The ring of a block: its part of every segment of the tape, one after the other, token after token.
//
// A stage holds a part of a group of four rows. One warp, the feeder, does nothing but start copies, and knows nothing
// of phases: it goes on as long as there are stages that have been given back and its window, the most that may be
// under way, has room: what waits for vectors stands in line behind what is under way. The places of the ring go to the
// other warps in turn, so that a copy that is late keeps one of them waiting and not the block's whole share. A place
// belongs to one warp for ever, since the one bit of parity of its mbarrier, on which copies complete, tells only
// neighbouring uses apart.
#pragma once

#include "cuda/device/async_copy.cuh"
#include "cuda/device/stream_grid.cuh"

namespace stretto::cuda {

extern __shared__ __align__(128) uint8_t shared[];

// What a block has of a segment.
struct StreamShare {
  uint32_t first_group, n_groups;

  __device__ __forceinline__ explicit StreamShare(const StreamSegment& s) {
    uint32_t block = blockIdx.x + gridDim.x - s.offset;
    if (block >= gridDim.x) block -= gridDim.x;
    first_group = block * s.groups + min(block, s.extra);
    n_groups = s.groups + (block < s.extra ? 1 : 0);
  }
};

// The reading end: a warp's next stage, counted over the whole launch.
struct StreamReader {
  uint32_t next;  // number of the stage, its place in the ring, and how often the ring had been full before it
  uint32_t place, round;

  __device__ __forceinline__ const uint8_t* acquire(const StreamLayout& at, const StreamTurn& turn) const {
    random_delay();
    await_copy(shared_address(shared + at.barriers) + 8 * place, round % 2, turn);
    return shared + at.ring + place * at.stage_bytes;
  }
  // The lane has read what it needs of the stage of the last acquire(). Every lane arrives: one that does it for all
  // costs as much, and racecheck could not follow it.
  __device__ __forceinline__ void release(const StreamLayout& at) {
    random_delay();
    asm volatile(
        "mbarrier.arrive.release.cta.shared::cta.b64 _, [%0];" ::"r"(shared_address(shared + at.released) + 8 * place)
        : "memory");
    next += kStreamWarps;
    place += kStreamWarps;
    if (place >= at.n_stages) {  // where the places are no multiple of the warps, the turn begins anew
      const uint32_t first = place % kStreamWarps;
      next += at.n_stages - place + first;
      place = first;
      ++round;
    }
  }
};

// What routing leaves for the feeder of its block: how many events of the launch are routed (modulo 2^22), and the bank
// of the last. The one word has no second writer: an event is routed when the block's stages of the one before have
// been used up. Atomics, whose order racecheck knows.
struct StreamDecision {
  static constexpr uint32_t kBankBits = 10;
  uint32_t word;

  __device__ __forceinline__ void put(uint32_t n, uint32_t bank) {
    static_assert(kMaxSwapBanks <= 1U << kBankBits);
    random_delay();
    asm volatile(
        "{ .reg .b32 before; atom.release.cta.shared.exch.b32 before, [%0], %1; }" ::"r"(shared_address(&word)),
        "r"(n << kBankBits | bank)
        : "memory");
  }
  // The bank of event number n, where this block has stages of it; by the whole warp.
  __device__ __forceinline__ uint32_t await(uint32_t n, const volatile bool* stop) const {
    uint32_t now = 0;
    if (threadIdx.x % 32 == 0) {
      do {
        asm volatile("atom.acquire.cta.shared.or.b32 %0, [%1], 0;" : "=r"(now) : "r"(shared_address(&word)) : "memory");
      } while (static_cast<int32_t>((now >> kBankBits << kBankBits) - (n << kBankBits)) < 0 && !*stop);
    }
    return __shfl_sync(0xffffffffu, now, 0) % (1U << kBankBits);
  }
};

class StreamFeeder {
 public:
  // Before the block's first barrier.
  __device__ explicit StreamFeeder(const StreamParams& p)
      : p_(p), tokens_left_(p.n_tokens), lane_(threadIdx.x % 32), policy_(read_once_policy()) {
    for (uint32_t s = lane_; s < p.at.n_stages; s += 32) {
      init_copy_barrier(barrier(s));
      asm volatile("mbarrier.init.shared::cta.b64 [%0], 32;" ::"r"(released(s)) : "memory");
    }
    publish_barriers();
  }

  // Until the tape is at its end or `stop` is set; then what is on its way has arrived.
  __device__ void run(const volatile bool* stop, const StreamDecision& decision) {
    ahead_ = p_.segments[0];
    while (!*stop && advance(stop, decision)) {
      while (!*stop && next_ < n_) issue();
    }
    for (uint32_t i = lane_; i < min(n_issued_, p_.at.n_stages); i += 32) {
      const uint32_t back = i + 1;  // the stage that was issued so many stages ago
      uint32_t place = place_ + p_.at.n_stages - back, round = round_;
      if (place >= p_.at.n_stages) {
        place -= p_.at.n_stages;
      } else {
        --round;
      }
      await_copy(barrier(place), round % 2, {p_.control, p_.n_phases, 0, 0});
    }
  }

 private:
#ifdef STRETTO_CUDA_DELAYS
  static constexpr uint32_t kAtOnce = 1;  // racecheck loses lanes that look at different barriers in one instruction
#else
  static constexpr uint32_t kAtOnce = 8;  // 3 and 12 are slower (docs/stream.md)
#endif

  __device__ __forceinline__ uint32_t barrier(uint32_t place) const {
    return shared_address(shared + p_.at.barriers) + 8 * place;
  }
  // Completes a phase each time the stage has been given back.
  __device__ __forceinline__ uint32_t released(uint32_t place) const {
    return shared_address(shared + p_.at.released) + 8 * place;
  }

  // Whether the stage that lies a window before the one at this place has arrived.
  __device__ __forceinline__ bool window_has_room(uint32_t place, uint32_t round) const {
    if (place < p_.at.window) {
      if (round == 0) return true;
      place += p_.at.n_stages;
      --round;
    }
    return is_complete_now(barrier(place - p_.at.window), round % 2);
  }

  // Up to kAtOnce stages of the segment, a lane each, as far as there is room.
  __device__ __forceinline__ void issue() {
    const uint32_t i = next_ + lane_;
    uint32_t place = place_ + lane_, round = round_;
    if (place >= p_.at.n_stages) {
      place -= p_.at.n_stages;
      ++round;
    }
    const bool ready = lane_ < kAtOnce && i < n_ && (round == 0 || is_complete_now(released(place), (round - 1) % 2)) &&
                       window_has_room(place, round);
    const uint32_t n = __ffs(static_cast<int>(~__ballot_sync(0xffffffffu, ready))) - 1;
    if (lane_ < n) {
      const uint32_t group = i / parts_, part = i - group * parts_;
      const uint32_t n_units = part + 1 == parts_ ? last_units_ : units_per_stage_;
      copy_async(shared_address(shared + p_.at.ring) + place * p_.at.stage_bytes,
                 source_ + uint64_t{group * group_units_ + part * units_per_stage_} * unit_bytes_,
                 n_units * unit_bytes_, barrier(place), policy_, 0);
    }
    __syncwarp();
    next_ += n;
    n_issued_ = min(n_issued_ + n, 1U << 30);
    place_ += n;
    if (place_ >= p_.at.n_stages) {
      place_ -= p_.at.n_stages;
      ++round_;
    }
  }

  // To the next segment; false at the end of the tape. The one behind it is fetched now, long before it is needed.
  __device__ __forceinline__ bool advance(const volatile bool* stop, const StreamDecision& decision) {
    if (tokens_left_ == 0) return false;
    const StreamShare share(ahead_);
    next_ = 0;
    n_ = share.n_groups * ahead_.parts;
    parts_ = ahead_.parts;
    group_units_ = ahead_.n_units;
    units_per_stage_ = ahead_.units_per_stage;
    last_units_ = group_units_ - (parts_ - 1) * units_per_stage_;
    unit_bytes_ = ahead_.unit_bytes;
    source_ = ahead_.weights + uint64_t{share.first_group} * group_units_ * unit_bytes_;
    if (ahead_.bank_bytes != 0) {
      if (ahead_.routed) bank_ = decision.await(++n_routed_, stop);
      source_ += bank_ * ahead_.bank_bytes;
    }
    policy_ = ahead_.keeps_bank ? read_again_policy() : read_once_policy();
    if (++segment_ == p_.n_segments) {
      segment_ = 0;
      --tokens_left_;
    }
    ahead_ = p_.segments[segment_];
    return true;
  }

  const StreamParams& p_;
  uint32_t tokens_left_, lane_;
  uint64_t policy_;
  uint32_t place_ = 0, round_ = 0, n_issued_ = 0, segment_ = 0;
  uint32_t n_routed_ = 0, bank_ = 0;  // events that the feeder has come to, and the bank of the last
  // The running segment: stages issued and in all, and how a group is divided.
  uint32_t next_ = 0, n_ = 0, parts_ = 1, group_units_ = 0, units_per_stage_ = 0, last_units_ = 0, unit_bytes_ = 0;
  const uint8_t* source_ = nullptr;
  StreamSegment ahead_;
};

}  // namespace stretto::cuda
