// The ring of a block: its part of every segment of the tape, one after the other, token after token.
//
// A stage holds a part of a group of four rows, or some positions of a cache. One warp, the feeder, does nothing but
// start copies, and knows nothing of phases: it goes on as long as there are stages that have been given back and its
// window, the most that may be under way, has room: what waits for vectors stands in line behind what is under way. The
// places of the ring go to the other warps in turn, so that a copy that is late keeps one of them waiting and not the
// block's whole share. A place belongs to one warp for ever, since the one bit of parity of its mbarrier, on which
// copies complete, tells only neighbouring uses apart.
#pragma once

#include "cuda/device/async_copy.cuh"
#include "cuda/device/stream_cache.cuh"
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
  // The lane has read what it needs of the stage of the last acquire().
  __device__ __forceinline__ void release(const StreamLayout& at) {
    give_back(at, place);
    advance(at);
  }
  // The same for several stages at a time: the place of the next one, which has arrived.
  __device__ __forceinline__ uint32_t take(const StreamLayout& at, const StreamTurn& turn) {
    acquire(at, turn);
    const uint32_t taken = place;
    advance(at);
    return taken;
  }
  // By the whole warp.
  __device__ __forceinline__ static void give_back(const StreamLayout& at, uint32_t place) {
    random_delay();
    __syncwarp();
    if (kGivers == 1 && threadIdx.x % 32 != 0) return;
    asm volatile(
        "mbarrier.arrive.release.cta.shared::cta.b64 _, [%0];" ::"r"(shared_address(shared + at.released) + 8 * place)
        : "memory");
  }
#ifdef STRETTO_CUDA_DELAYS
  static constexpr uint32_t kGivers = 32;  // racecheck cannot follow one lane that does it for all
#else
  static constexpr uint32_t kGivers = 1;
#endif

 private:
  __device__ __forceinline__ void advance(const StreamLayout& at) {
    next += kStreamWarps;
    place += kStreamWarps;
    if (place >= at.n_stages) {
      place -= at.n_stages;
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
  __device__ StreamFeeder(const StreamParams& p, uint32_t* n_begun)
      : p_(p),
        tokens_left_(p.n_tokens),
        lane_(threadIdx.x % 32),
        position_(static_cast<uint32_t>(__ldcg(&p.state->position))),
        n_begun_(n_begun),
        policy_(read_once_policy()) {
    for (uint32_t s = lane_; s < p.at.n_stages; s += 32) {
      init_copy_barrier(barrier(s));
      asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(released(s)), "n"(StreamReader::kGivers) : "memory");
    }
    publish_barriers();
  }

  // Until the tape is at its end or `stop` is set; then what is on its way has arrived.
  __device__ void run(const volatile bool* stop, const StreamDecision& decision) {
    ahead_ = p_.segments[0];
    while (!*stop && advance(stop, decision)) {
      if (values_ == nullptr) {
        while (!*stop && next_ < n_) issue<false>();
      } else {
        while (!*stop && next_ < n_) issue<true>();
      }
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
  // racecheck loses lanes that look at different barriers in one instruction
  static constexpr uint32_t kAtOnce = 1, kCacheAtOnce = 1;
#else
  // Measured (docs/stream.md): of weights 3 and 12 are slower, of caches 8 and 12. Caches need the faster pace, since
  // most of a run is asked for within the phase, and have no long phase behind them that a burst would hold up.
  static constexpr uint32_t kAtOnce = 8, kCacheAtOnce = 14;
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
  template <bool kCache>
  __device__ __forceinline__ void issue() {
    if constexpr (kCache) look_for_token();
    const uint32_t i = next_ + lane_;
    uint32_t place = place_ + lane_, round = round_;
    if (place >= p_.at.n_stages) {
      place -= p_.at.n_stages;
      ++round;
    }
    const bool ready = lane_ < (kCache ? kCacheAtOnce : kAtOnce) && i < n_ &&
                       (round == 0 || is_complete_now(released(place), (round - 1) % 2)) &&
                       window_has_room(place, round) && (!kCache || is_written(i));
    const uint32_t n = __ffs(static_cast<int>(~__ballot_sync(0xffffffffu, ready))) - 1;
    if (lane_ < n) {
      if constexpr (kCache) {
        start_piece(place, slots_.at(i));
      } else {
        const uint32_t group = i / parts_, part = i - group * parts_;
        const uint32_t n_units = part + 1 == parts_ ? last_units_ : units_per_stage_;
        start(place, source_ + uint64_t{group * group_units_ + part * units_per_stage_} * unit_bytes_,
              n_units * unit_bytes_);
      }
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

  __device__ __forceinline__ void start(uint32_t place, const uint8_t* from, uint32_t bytes) const {
    copy_async(shared_address(shared + p_.at.ring) + place * p_.at.stage_bytes, from, bytes, barrier(place), policy_,
               0);
  }
  __device__ __forceinline__ void start_piece(uint32_t place, const StreamSlots::Piece& piece) const {
    const uint32_t at = run_.begin + piece.piece;
    if (at >= run_.end) {  // stays empty
      asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier(place)) : "memory");
      return;
    }
    start(place, (piece.is_value ? values_ : source_) + uint64_t{at} * unit_bytes_, unit_bytes_);
  }
  // Rows that earlier tokens of this launch wrote are there when the token has begun. The fence takes as long as what
  // is under way, so there is one in a token.
  __device__ __forceinline__ void look_for_token() {
    if (!has_new_ || n_seen_ >= token_ || atomicAdd(n_begun_, 0) < token_) return;
    order_copies();
    n_seen_ = token_;
  }
  // Whether what stage i holds will not change any more.
  __device__ __forceinline__ bool is_written(uint32_t i) const {
    if (!has_new_ || n_seen_ >= token_) return true;
    const uint32_t at = run_.begin + slots_.at(i).piece;
    return at < first_new_ || at >= run_.end;
  }

  // The keys and values of the running token; the run is the same for caches of the same shape.
  __device__ __forceinline__ void open_cache(const StreamCache& c) {
    token_ = p_.n_tokens - tokens_left_;
    if (shape_ != c.shape || run_token_ != token_) {
      run_ = StreamRun(c, position_ + token_);
      slots_ = StreamSlots(run_.is_active() ? run_.end - run_.begin : 0, c.positions);
      first_new_ = position_ / c.positions;
      shape_ = c.shape;
      run_token_ = token_;
    }
    next_ = 0;
    n_ = slots_.n_stages();
    unit_bytes_ = c.positions * c.row_bytes;
    source_ = c.keys + run_.kv_head * c.head_bytes;
    values_ = c.values + run_.kv_head * c.head_bytes;
    policy_ = read_once_policy();
    has_new_ = token_ > 0 && run_.end > first_new_;
  }
  __device__ __forceinline__ void open_rows(const volatile bool* stop, const StreamDecision& decision) {
    const StreamShare share(ahead_);
    values_ = nullptr;
    has_new_ = false;
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
  }

  // To the next segment; false at the end of the tape. The one behind it is fetched now, long before it is needed.
  __device__ __forceinline__ bool advance(const volatile bool* stop, const StreamDecision& decision) {
    if (tokens_left_ == 0) return false;
    if (ahead_.cache.keys != nullptr) {
      open_cache(ahead_.cache);
    } else {
      open_rows(stop, decision);
    }
    if (++segment_ == p_.n_segments) {
      segment_ = 0;
      --tokens_left_;
    }
    ahead_ = p_.segments[segment_];
    return true;
  }

  const StreamParams& p_;
  uint32_t tokens_left_, lane_;
  const uint32_t position_;  // of the first token
  uint32_t* const n_begun_;  // tokens that the block has begun behind the first one, in shared memory
  uint64_t policy_;
  uint32_t place_ = 0, round_ = 0, n_issued_ = 0, segment_ = 0;
  uint32_t n_routed_ = 0, bank_ = 0;  // events that the feeder has come to, and the bank of the last
  // The running segment: stages issued and in all, and how a group is divided.
  uint32_t next_ = 0, n_ = 0, parts_ = 1, group_units_ = 0, units_per_stage_ = 0, last_units_ = 0, unit_bytes_ = 0;
  const uint8_t* source_ = nullptr;
  // Of a cache: source_ and unit_bytes_ are those of its keys.
  const uint8_t* values_ = nullptr;
  StreamRun run_;
  StreamSlots slots_;
  uint32_t token_ = 0, run_token_ = 0, shape_ = UINT32_MAX;
  uint32_t n_seen_ = 0;     // tokens of the launch that have begun behind the first one, as far as it mattered
  uint32_t first_new_ = 0;  // the piece from which on tokens of this launch write
  bool has_new_ = false;
  StreamSegment ahead_;
};

}  // namespace stretto::cuda
