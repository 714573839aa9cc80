// What a block of a cluster keeps in shared memory, its ring of weights, and the warp that feeds it.
#pragma once

#include "cuda/device/cluster_exchange.cuh"

namespace stretto::cuda {

// The barriers on which vectors from other blocks complete, one use of each in a layer; that of the attention's input
// has one more in a token, for the head's.
enum ClusterBarrier : uint32_t { kAttentionIn, kHeadIn, kJoined, kAttended, kFfnIn, kActivated, kClusterBarriers };

// Of a warp at a time; the last warp has the token's own row and no others.
inline constexpr uint32_t kClusterPositions = 8;
inline constexpr uint32_t kClusterStep = kClusterPositions * (kClusterWarps - 1);

// Which head and which part of the context a block has.
struct ClusterRun {
  uint32_t head = 0, kv_head = 0, index = 0;  // of the cluster's heads; of the model's; of the runs
  uint32_t n_active = 0, begin = 0, end = 0;
  bool is_active = false, owns_new = false, writes = false;
  uint64_t first_byte = 0;  // of the run in the caches of a layer
  uint32_t n_bytes = 0;

  ClusterRun() = default;
  __device__ __forceinline__ ClusterRun(const ClusterShape& s, uint32_t n_ctx, const ClusterShare& share, uint32_t rank,
                                        uint32_t position) {
    const uint32_t per_kv = s.n_heads / s.n_kv_heads, n_heads = share.n_kv * per_kv, n = position + 1;
    if (n_heads == 0) return;
    head = rank % n_heads;
    kv_head = share.first_kv + head / per_kv;
    index = rank / n_heads;
    n_active = min(share.n_splits, (n + kClusterStep - 1) / kClusterStep);
    const uint32_t each =
        ((n + n_active - 1) / n_active + kClusterPositions - 1) / kClusterPositions * kClusterPositions;
    begin = min(index * each, n);
    end = min(begin + each, n);
    is_active = index < n_active && begin < end;
    owns_new = is_active && end == n;
    writes = owns_new && head % per_kv == 0;
    first_byte = (uint64_t{kv_head} * n_ctx + begin) * 2 * s.head_dim;
    n_bytes = (end - begin) * 2 * s.head_dim;
  }
};

struct alignas(128) ClusterBlock {
  unsigned long long arrived[kClusterBarriers];
  float squares[2][64];            // of runs of 32 columns of the inputs of attention and feed forward network
  float head[3][128];              // query, key and value of the block's head
  float kept[kClusterWarps][128];  // of each warp of an attention
  alignas(16) float top[kClusterWarps];
  alignas(16) float sum[kClusterWarps];
  float joined[kMostClusterSplits][132];  // of each run of a context; largest score and sum behind the values
  float cos[64], sin[64];
  unsigned long long best[kClusterWarps];
  ClusterLayer layer[kMostClusterLayers];
  ClusterRun run;                      // of the running token
  ClusterShare share;                  // of the cluster
  uint32_t head_row[kClusterThreads];  // ClusterToken::find_heads
  long long clock;
  uint32_t token, position, n_arrived;
  uint32_t n_before;  // tokens of all launches
  uint32_t broken;    // bits of barriers that somebody waited for in vain
  bool stop;          // for the feeder
  bool goes_on;       // behind the running token
};
static_assert(sizeof(ClusterBlock) <= kClusterBlockBytes && kClusterBlockBytes % 128 == 0);
__device__ __forceinline__ ClusterBlock& cluster_block() { return *reinterpret_cast<ClusterBlock*>(shared); }
__device__ __forceinline__ uint32_t offset_of(const void* p) { return shared_address(p) - shared_address(shared); }
__device__ __forceinline__ uint32_t cluster_barrier(ClusterBarrier b) { return offset_of(&cluster_block().arrived[b]); }

// Until the stores of other blocks that the barrier counts have all arrived. They lie in this block's shared memory, so
// nothing that a cache holds has to be forgotten.
__device__ __forceinline__ void await_vector(ClusterBarrier b, uint32_t parity, StreamControl* control,
                                             uint32_t phase) {
  random_delay();
  await_copy(shared_address(&cluster_block().arrived[b]), parity, {control, phase, 0, 0, 0});
}

// A warp's next stage; all warps read their part of each, in order.
struct ClusterReader {
  uint32_t place = 0, round = 0;

  __device__ __forceinline__ void advance(const ClusterAt& at) {
    if (++place < at.n_stages) return;
    place = 0;
    ++round;
  }
  __device__ __forceinline__ void await(const ClusterAt& at, StreamControl* control, uint32_t phase) const {
    random_delay();
    await_copy(shared_address(shared) + at.barriers + 8 * place, round % 2, {control, phase, 0, 0, 0});
  }
  __device__ __forceinline__ uint32_t offset(const ClusterAt& at) const { return at.ring + place * at.stage_bytes; }
  // The stage, which the warp has read.
  __device__ __forceinline__ void release(uint32_t thread, const ClusterAt& at) const {
    random_delay();
    __syncwarp();
    if (thread % 32 == 0)
      asm volatile(
          "mbarrier.arrive.release.cta.shared::cta.b64 _, [%0];" ::"r"(shared_address(shared) + at.released + 8 * place)
          : "memory");
  }
};

// Short steps share a stage.
__device__ __forceinline__ uint32_t steps_of_stage(const ClusterProduct& c) {
  return kClusterWarps >> (32 - __clz(static_cast<int>(c.n_warps - 1)));
}

// The last warp starts the copies of all stages, in order, as long as there is room. What it does for a stage takes as
// long as a part of the stage does, so addresses and sizes are at hand.
class ClusterFeeder {
 public:
  __device__ __forceinline__ ClusterFeeder(const ClusterParams& p, const volatile bool* stop)
      : p_(p), stop_(stop), policy_(read_once_policy()) {
    // Once: what the compiler can find out again it does not keep.
    asm volatile("mov.u32 %0, %1;" : "=r"(base_) : "r"(shared_address(shared)));
  }

  __device__ __forceinline__ void run(uint32_t cluster, uint32_t rank) {
    const ClusterShare& share = p_.shape.share[cluster];
    const uint8_t* const begin = p_.weights + share.begin + rank * p_.shape.n_layers * share.layer_bytes;
    uint32_t n_stages;
    const uint32_t own = stage_of_lane(share, n_stages);
    bool goes_on = true;
    for (uint32_t t = 0; t < p_.n_tokens && goes_on; ++t) {
      const uint8_t* from = begin;
      pace_ = p_.at.pace;
      for (uint32_t l = 0; l < p_.shape.n_layers && goes_on; ++l)
        for (uint32_t s = 0; s < n_stages && goes_on; ++s) {
          const uint32_t bytes = __shfl_sync(0xffffffffu, own, s);
          goes_on = start(from, bytes);
          from += bytes;
        }
      pace_ = 0;
      if (goes_on) goes_on = start_head(cluster * kClusterRanks + rank);
    }
    finish();
  }

 private:
  // How many stages a layer has, and the bytes of that whose number is the lane's.
  __device__ __forceinline__ uint32_t stage_of_lane(const ClusterShare& share, uint32_t& n_stages) const {
    uint32_t bytes = 0;
    n_stages = 0;
    for (const ClusterProduct* c : {&share.qkv, &share.out, &share.gate_up, &share.down}) {
      if (c->n_steps == 0) continue;
      const uint32_t per_step = c->n_warps * (p_.at.stage_bytes / kClusterWarps), per_stage = steps_of_stage(*c);
      for (uint32_t s = 0; s < c->n_steps; s += per_stage, ++n_stages)
        if (n_stages == threadIdx.x % 32) bytes = min(per_stage, c->n_steps - s) * per_step;
    }
    return bytes;
  }
  __device__ __forceinline__ uint32_t full(uint32_t place) const { return base_ + p_.at.barriers + 8 * place; }
  // Until the barrier has completed this round; false where the block has stopped.
  __device__ __forceinline__ bool await(uint32_t barrier, uint32_t parity) const {
    while (!__any_sync(0xffffffffu, is_complete_now(barrier, parity)))
      if (__any_sync(0xffffffffu, *stop_)) return false;
    return true;
  }
  // The stage a window before has arrived, and with it all before it: also that which had the place.
  __device__ __forceinline__ bool start(const uint8_t* from, uint32_t bytes) {
    if (round_ > 0 && !await(base_ + p_.at.released + 8 * place_, (round_ - 1) % 2)) return false;
    if (n_started_ >= p_.at.window) {
      const bool behind = place_ >= p_.at.window;
      const uint32_t place = behind ? place_ - p_.at.window : place_ + p_.at.n_stages - p_.at.window;
      if (!await(full(place), (behind ? round_ : round_ - 1) % 2)) return false;
    }
    const uint32_t barrier = full(place_);
    if (threadIdx.x % 32 == 0) expect_bytes(barrier, bytes);
    __syncwarp();
    uint32_t to = base_ + p_.at.ring + place_ * p_.at.stage_bytes;
    for (uint32_t left = bytes; left > 0;) {
      const uint32_t n = min(p_.at.piece_bytes, left);
      keep_pace(n);
      copy_bulk_by_warp(to, from, n, barrier, policy_);
      to += n;
      from += n;
      left -= n;
    }
    n_started_ = min(n_started_ + 1, 1U << 30);
    if (++place_ == p_.at.n_stages) {
      place_ = 0;
      ++round_;
    }
    return true;
  }
  // No faster than the pace, so that vectors do not stand behind a burst of weights.
  __device__ __forceinline__ void keep_pace(uint32_t bytes) {
    const uint32_t wait = bytes * pace_ >> 10;
    uint32_t now;
    do {
      now = clock();
    } while (static_cast<int32_t>(now - next_) < 0);
    next_ = now + wait;
  }
  __device__ __forceinline__ bool start_head(uint32_t block);
  // What is under way has arrived.
  __device__ __forceinline__ void finish() const {
    uint32_t place = place_, round = round_;
    for (uint32_t i = min(n_started_, p_.at.n_stages); i > 0; --i) {
      if (place == 0) {
        place = p_.at.n_stages;
        --round;
      }
      --place;
      await_copy(full(place), round % 2, {p_.control, UINT32_MAX - 1, 0, 0, 0});
    }
  }

  const ClusterParams& p_;
  const volatile bool* const stop_;
  const uint64_t policy_;
  uint32_t base_;      // of shared memory
  uint32_t pace_ = 0;  // cycles for 1024 bytes
  uint32_t place_ = 0, round_ = 0, n_started_ = 0;
  uint32_t next_ = clock();  // cycle from which on the next piece may be asked for
};

// Groups of the head's rows of a block, the extra ones to the first blocks.
struct ClusterHeadShare {
  uint32_t first, n;
  __device__ __forceinline__ ClusterHeadShare(const ClusterParams& p, uint32_t block) {
    const uint32_t n_blocks = p.shape.n_clusters * kClusterRanks, each = p.head_groups / n_blocks,
                   extra = p.head_groups % n_blocks;
    first = block * each + min(block, extra);
    n = each + (block < extra ? 1 : 0);
  }
};
inline constexpr uint32_t kHeadUnits = kClusterWarps;  // of a stage of the head

__device__ __forceinline__ bool ClusterFeeder::start_head(uint32_t block) {
  const uint32_t unit_bytes = p_.at.stage_bytes / kHeadUnits;
  if (p_.withheld == kWithheldWeights) return false;
  const ClusterHeadShare share(p_, block);
  const uint8_t* const from = p_.head + uint64_t{share.first} * p_.head_units * unit_bytes;
  const uint32_t n_units = share.n * p_.head_units;
  for (uint32_t u = 0; u < n_units; u += kHeadUnits)
    if (!start(from + uint64_t{u} * unit_bytes, min(kHeadUnits, n_units - u) * unit_bytes)) return false;
  return true;
}

// The cosines and sines of a position, by threads from a half on.
static __device__ __noinline__ void rotate_to(const ClusterParams& p, uint32_t position) {
  ClusterBlock& block = cluster_block();
  const uint32_t pair = threadIdx.x - kClusterThreads / 2;
  if (pair >= p.shape.head_dim / 2) return;
  double sin, cos;
  sincos(position * p.inv_freq[pair], &sin, &cos);
  block.cos[pair] = static_cast<float>(cos * p.mscale);
  block.sin[pair] = static_cast<float>(sin * p.mscale);
}

// Keeps the time of thread 0 where clocks are wanted, and how many stages from the warp's next one on are there.
static __device__ __noinline__ void keep_cluster_time(const ClusterParams& p, uint32_t phase,
                                                      uint32_t StreamClock::*part, ClusterReader reader) {
  StreamClock& clock = p.clocks[phase * p.n_sm + blockIdx.x];
  const long long now = clock64();
  clock.*part = static_cast<uint32_t>(now - cluster_block().clock);
  asm volatile("mov.u32 %0, %%smid;" : "=r"(clock.sm));
  if (part == &StreamClock::input) {
    clock.ring = 0;
    for (uint32_t i = 0; i < p.at.n_stages; ++i, reader.advance(p.at))
      clock.ring +=
          is_complete_now(shared_address(shared) + p.at.barriers + 8 * reader.place, reader.round % 2) ? 1 : 0;
  }
  cluster_block().clock = clock64();
}

}  // namespace stretto::cuda
