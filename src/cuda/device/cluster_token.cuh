// A token by clusters: what a block does from the embedding to its rows of the head.
#pragma once

#include "cuda/device/cluster_attention.cuh"
#include "cuda/device/cluster_embed.cuh"

namespace stretto::cuda {

// A thread's place in a product: its group of rows, and of that group the row of which it has the sum.
struct ClusterPlace {
  uint32_t group, row, lane;  // `lane` of those that have the row's sum

  __device__ __forceinline__ ClusterPlace(uint32_t thread, uint32_t lanes) {
    const uint32_t shift = __ffs(static_cast<int>(lanes)) - 1, i = thread & (lanes - 1);  // a power of two
    group = thread >> shift;
    row = i >> (shift - 2);
    lane = i & (lanes / 4 - 1);
  }
};

// The five phases of a layer, by their distance from the first, and what comes before it.
enum ClusterPhase : uint32_t { kBefore, kQkv, kAttend, kOut, kGateUp, kDown };

template <class Format>
class ClusterToken {
 public:
  using Input = typename Format::Input;

  __device__ __forceinline__ explicit ClusterToken(const ClusterParams& p)
      : p_(p), thread_(thread_now()), rank_(cluster_rank()), use_(cluster_block().n_before * p.shape.n_layers) {
    find_heads();
  }

  __device__ __forceinline__ void run() {
    begin_token();
#pragma unroll 1
    for (layer_ = 0; layer_ < p_.shape.n_layers; ++layer_, ++use_) run_layer();
    if (thread_ == kClusterThreads - 1) expect(kAttentionIn, norm_parity(), norm_bytes());
    --layer_;
    pass_on(p_.head_norm, 1, use_ - 1, p_.shape.n_clusters, kAttentionIn, kDown, true);
    ++layer_;
    run_head();
  }

 private:
  __device__ __forceinline__ static ClusterBlock& block() { return cluster_block(); }
  __device__ __forceinline__ uint32_t lane() const { return thread_ % 32; }
  __device__ __forceinline__ uint32_t warp() const { return thread_ / 32; }
  __device__ __forceinline__ uint32_t per_rank() const { return p_.shape.d / kClusterRanks; }
  __device__ __forceinline__ bool has_column() const { return thread_ < per_rank(); }
  __device__ __forceinline__ uint32_t column() const { return rank_ * per_rank() + thread_; }
  __device__ __forceinline__ uint32_t phase(ClusterPhase k) const { return 5 * layer_ + k; }
  __device__ __forceinline__ bool withholds(ClusterPhase k) const {
    return !is_usual(p_.withheld == UINT32_MAX) && p_.withheld == phase(k) && blockIdx.x == 0;
  }
  __device__ __forceinline__ float* partial(uint32_t which, uint32_t use) const {
    return p_.partial + (use % 2 * 2 + which) * kMostClusters * p_.shape.d;
  }
  __device__ __forceinline__ static uint32_t flag(uint32_t use) { return (use / 2 + 1) & 1; }
  __device__ __forceinline__ uint32_t norm_bytes() const { return p_.shape.d / 32 * (Format::kRunBytes + 4); }
  // Of the barriers that are used once in a layer, and of the one that is used once more in a token: those begin with
  // the parities of the launch's first use (begin_block).
  __device__ __forceinline__ uint32_t parity() const { return use_ & 1; }
  __device__ __forceinline__ uint32_t norm_parity() const { return (use_ + block().n_before) & 1; }

  __device__ __forceinline__ void await_arrivals(ClusterBarrier b, uint32_t parity, ClusterPhase k) const {
    await_vector(b, parity, p_.control, phase(k));
  }
  __device__ __forceinline__ void lap(ClusterPhase k, uint32_t StreamClock::*part) const {
    if (!is_usual(p_.clocks == nullptr) && thread_ == 0) keep_cluster_time(p_, phase(k), part, reader_);
  }

  __device__ __forceinline__ void begin_token() {
    if (has_column()) x_ = embedded(p_, block().token, column());
    layer_ = 0;
    sync_warps();
    lap(kBefore, &StreamClock::work);
  }

  // What a barrier will see next. By the thread that has waited for what it saw last: where that came in vain, the
  // barrier has no room for another arrival, now or later, and the token is garbage.
  __device__ __forceinline__ static void expect(ClusterBarrier b, uint32_t parity, uint32_t bytes) {
    const uint32_t barrier = shared_address(&block().arrived[b]);
    if (!is_usual((block().broken >> b & 1) == 0 && is_complete_now(barrier, parity ^ 1))) {
      block().broken |= 1U << b;
      return;
    }
    expect_bytes(barrier, bytes);
  }
  __device__ __noinline__ static void expect_layer(const ClusterParams& p, uint32_t parity, uint32_t norm_parity,
                                                   uint32_t norm_bytes) {
    const ClusterShare& share = block().share;
    const ClusterRun& run = block().run;
    const uint32_t heads = share.n_kv * (p.shape.n_heads / p.shape.n_kv_heads), dim = p.shape.head_dim;
    expect(kAttentionIn, norm_parity, norm_bytes);
    expect(kFfnIn, parity, norm_bytes);
    expect(kActivated, parity, 4 * kClusterRun * share.n_runs);
    if (heads == 0) return;
    for (const ClusterBarrier b : {kHeadIn, kJoined}) await_vector(b, parity ^ 1, p.control, 1);
    expect(kHeadIn, parity, cluster_rank() < heads * share.n_splits ? 12 * dim : 0);
    expect(kJoined, parity, run.index == 0 && run.n_active > 1 ? 4 * run.n_active * (dim + 2) : 0);
    expect(kAttended, parity, heads * dim / 32 * Format::kRunBytes);
  }

  __device__ __forceinline__ void run_layer() {
    if (thread_ == kClusterThreads - 1) expect_layer(p_, parity(), norm_parity(), norm_bytes());
    if (block().run.is_active) fetch_cache();
    const float* const norm = block().layer[layer_].attn_norm;
    const uint32_t n = layer_ > 0 ? p_.shape.n_clusters : 0;
    if (block().share.n_kv > 0) {
      make_heads(norm, n);
      if (block().run.is_active) {
        attend_any();
        lap(kAttend, &StreamClock::work);
      }
      Begun b = begin(block().share.out, kOut);
      await_arrivals(kAttended, parity(), kOut);
      lap(kOut, &StreamClock::input);
      put_rows(b, {p_.at.attended, p_.at.n_attended}, 0, kOut);
    } else {
      pass_on(norm, 1, use_ - 1, n, kAttentionIn, kBefore);
      await_arrivals(kAttentionIn, norm_parity(), kQkv);
    }
    run_gate_up();
    Begun b = begin(block().share.down, kDown);
    await_arrivals(kActivated, parity(), kDown);
    if constexpr (Format::kInteger) quantise_activations();
    lap(kDown, &StreamClock::input);
    put_rows(b, {p_.at.acted, p_.at.n_acted}, 1, kDown);
  }

  // Adds the sums of n clusters to this block's columns of the residual stream, and hands them to all ranks, times the
  // norm's weights, with their squares.
  __device__ __forceinline__ void pass_on(const float* norm, uint32_t which, uint32_t use, uint32_t n, ClusterBarrier b,
                                          ClusterPhase k, bool for_head = false) {
    if (!has_column()) return;
    const float weight = __ldg(norm + column());
    const float* const from = partial(which, use) + column() / 32 * (32 * kMostClusters) + lane();
    random_delay();
    if (n > 0) {
      const uint32_t wanted = flag(use) * n;
      float v[kMostClusters];
      if (!is_usual(look(from, wanted, v))) {
        StreamPatience patience{p_.control, phase(k) + 1};
#pragma unroll 1
        while (!look(from, wanted, v) && !patience.is_over()) {
        }
      }
      __syncwarp();
#pragma unroll
      for (float& part : v) part = without_flag(part);
      x_ += ((v[0] + v[1]) + (v[2] + v[3])) + ((v[4] + v[5]) + (v[6] + v[7]));
    }
    if (withholds(k)) return;
    const uint32_t run = column() / 32, barrier = cluster_barrier(b);
    const bool is_ffn = b == kFfnIn;
    Format::push_run({is_ffn ? p_.at.in_ffn : p_.at.in_attention, p_.shape.d}, run, x_ * weight, barrier, for_head);
    const float square = warp_sum(x_ * x_);
    if (lane() < kClusterRanks)
      push(at_rank(offset_of(&block().squares[is_ffn ? 1 : 0][run]), lane()), at_rank(barrier, lane()), square);
  }
  // Whether so many of the sums have the flag as belong to this use of their places; those of clusters that there are
  // not are zeros for ever.
  __device__ __forceinline__ static bool look(const float* from, uint32_t wanted, float (&v)[kMostClusters]) {
    uint32_t n = 0;
#pragma unroll
    for (uint32_t i = 0; i < kMostClusters; ++i) load_now(v[i], from + 32 * i);
#pragma unroll
    for (const float part : v) n += __float_as_uint(part) & 1;
    return n == wanted;
  }

  // A product that has begun: all that does not need its input is done before that has come, up to the first weights.
  struct Begun {
    uint32_t n_groups, lanes, left, n_warps, n_here, at;  // steps to go, in all and of the stage
    ClusterPlace place;
    typename Format::Chunk chunk;
  };
  __device__ __forceinline__ Begun begin(const ClusterProduct& c, ClusterPhase k) {
    const uint4 words = *reinterpret_cast<const uint4*>(&c);
    Begun b{words.x, words.y, words.z, words.w, 0, 0, ClusterPlace(thread_, words.y), {}};
    open_stage(b, k);
    return b;
  }
  __device__ __forceinline__ void open_stage(Begun& b, ClusterPhase k) {
    reader_.await(p_.at, p_.control, phase(k));
    b.at = reader_.offset(p_.at) + warp() * Format::kWarpBytes;
    b.n_here = min(b.left, steps_of_stage({.n_warps = b.n_warps}));
    if (warp() < b.n_warps) b.chunk.load(b.at, lane());
  }
  // The thread's row. Of an input that was normalised but for a factor, `squares` is this lane's part.
  __device__ __forceinline__ float finish_normed(Begun& b, const Input& in, ClusterPhase k, float squares, float eps) {
    const float y = multiply(b, in, k).template total<true>(thread_, b.lanes, squares);
    return y * norm_factor(squares, eps);
  }
  __device__ __forceinline__ float finish(Begun& b, const Input& in, ClusterPhase k) {
    float none = 0;
    return multiply(b, in, k).template total<false>(thread_, b.lanes, none);
  }
  // rms_factor() with less care for numbers below 1e-38.
  __device__ __forceinline__ float norm_factor(float squares, float eps) const {
    float factor;
    asm("rsqrt.approx.ftz.f32 %0, %1;" : "=f"(factor) : "f"(fmaf(squares, p_.inverse_d, eps)));
    return factor;
  }
  __device__ __forceinline__ typename Format::Sum multiply(Begun& b, const Input& in, ClusterPhase k) {
    typename Format::Sum sum;
    uint32_t chunk = thread_ & (b.lanes - 1);
    const bool has_rows = warp() < b.n_warps;
#pragma unroll 1
    while (true) {
      if (has_rows) sum.add(b.chunk, in, chunk, thread_, b.lanes);
      if (--b.left == 0) break;
      chunk += b.lanes;
      if (--b.n_here == 0) {
        const ClusterReader done = reader_;
        reader_.advance(p_.at);
        open_stage(b, k);
        done.release(thread_, p_.at);
      } else {
        b.at += b.n_warps * Format::kWarpBytes;
        if (has_rows) b.chunk.load(b.at, lane());
      }
    }
    reader_.release(thread_, p_.at);
    reader_.advance(p_.at);
    return sum;
  }
  __device__ __forceinline__ float squares(uint32_t which) const {
    const uint32_t n = p_.shape.d / 32;
    const float* const s = block().squares[which];
    const float v = lane() < n ? s[lane()] : 0;
    return v + (lane() + 32 < n ? s[lane() + 32] : 0);
  }

  // The first rows that a run reads, into the second-level cache.
  __device__ __forceinline__ void fetch_cache() const {
    const ClusterRun& run = block().run;
    const uint32_t line = thread_ % (kClusterThreads / 2) * 128;
    if (line >= run.n_bytes) return;
    const ClusterLayer& at = block().layer[layer_];
    const auto* const cache = static_cast<const uint8_t*>(thread_ < kClusterThreads / 2 ? at.k_cache : at.v_cache);
    asm volatile("prefetch.global.L2 [%0];" ::"l"(cache + run.first_byte + line));
  }

  // Where the thread's row of queries, keys or values goes, above the ranks that it goes to: the same in all layers.
  __device__ __forceinline__ void find_heads() const {
    const ClusterShare& share = block().share;
    uint32_t found = 0;
    if (share.n_kv > 0 && ClusterPlace(thread_, share.qkv.lanes).group < share.qkv.n_groups) {
      const ClusterPlace place(thread_, share.qkv.lanes);
      const uint32_t of_cluster = 4 * (rank_ * share.qkv.n_groups + place.group) + place.row, dim = p_.shape.head_dim;
      const uint32_t per_kv = p_.shape.n_heads / p_.shape.n_kv_heads, n_heads = share.n_kv * per_kv;
      const uint32_t head = of_cluster / dim, d = of_cluster - head * dim;
      const bool is_query = head < n_heads;
      const uint32_t kind = is_query ? 0 : head < n_heads + share.n_kv ? 1 : 2;
      const uint32_t which = is_query ? head : head - n_heads - (kind - 1) * share.n_kv;
      found = offset_of(&block().head[kind][d]) << kClusterRanks;
      for (uint32_t r = place.lane; r < n_heads * share.n_splits; r += share.qkv.lanes / 4)
        if ((is_query ? r % n_heads : r % n_heads / per_kv) == which) found |= 1U << r;
    }
    block().head_row[thread_] = found;
  }
  // Queries, keys and values, to the blocks that attend with them; the lanes of a row share its ranks.
  __device__ __forceinline__ void make_heads(const float* norm, uint32_t n) {
    Begun b = begin(block().share.qkv, kQkv);
    const uint32_t to = block().head_row[thread_], barrier = cluster_barrier(kHeadIn);
    pass_on(norm, 1, use_ - 1, n, kAttentionIn, kBefore);
    await_arrivals(kAttentionIn, norm_parity(), kQkv);
    lap(kQkv, &StreamClock::input);
    const float y = finish_normed(b, {p_.at.in_attention, p_.shape.d}, kQkv, squares(0), p_.attn_eps);
    if (withholds(kQkv)) return;
#pragma unroll 1
    for (uint32_t left = to & ((1U << kClusterRanks) - 1); left != 0; left &= left - 1) {
      const uint32_t r = __ffs(static_cast<int>(left)) - 1;
      push(at_rank(to >> kClusterRanks, r), at_rank(barrier, r), y);
    }
    lap(kQkv, &StreamClock::work);
  }
  __device__ __forceinline__ void attend_any() const {
    const auto with = [&](auto value) {
      using T = decltype(value);
      p_.shape.head_dim == 64 ? attend<Format, T, 64>(p_, layer_, parity())
                              : attend<Format, T, 128>(p_, layer_, parity());
    };
    if (p_.shape.cache_type == DType::kF16) {
      with(__half{});
    } else {
      with(__nv_bfloat16{});
    }
  }

  // Rows of the residual stream, as this cluster's part of the sum.
  __device__ __forceinline__ void put_rows(Begun& b, const Input& in, uint32_t which, ClusterPhase k) {
    const uint32_t row = 4 * b.place.group + b.place.row, column = rank_ * per_rank() + row;
    const bool has_row = row < per_rank() && b.place.lane == 0;
    float* const to = partial(which, use_) + (column / 32 * kMostClusters + cluster_number()) * 32 + column % 32;
    const float y = finish(b, in, k);
    lap(k, &StreamClock::work);
    random_delay();
    if (has_row && !withholds(k)) store_now(to, flagged(y, flag(use_)));
    lap(k, &StreamClock::rest);
  }

  // The groups are two rows of the gate and two of `up`, as everywhere (cuda/gemv.h).
  __device__ __forceinline__ void run_gate_up() {
    Begun b = begin(block().share.gate_up, kGateUp);
    const uint32_t i = 2 * (rank_ * b.n_groups + b.place.group), is_odd = b.place.row % 2;
    uint32_t to = p_.at.activations + 4 * (i + is_odd);
    if constexpr (!Format::kInteger) to = Input(p_.at.acted, p_.at.n_acted).pair(i, is_odd);
    const uint32_t barrier = cluster_barrier(kActivated), step = b.lanes / 2;
    pass_on(block().layer[layer_].ffn_norm, 0, use_, p_.shape.n_attending, kFfnIn, kOut);
    await_arrivals(kFfnIn, parity(), kGateUp);
    lap(kGateUp, &StreamClock::input);
    const float y = finish_normed(b, {p_.at.in_ffn, p_.shape.d}, kGateUp, squares(1), p_.ffn_eps);
    lap(kGateUp, &StreamClock::work);
    const float other = __shfl_xor_sync(0xffffffffu, y, step);
    const bool is_up = b.place.row >= 2;
    const float v = activate(p_.act, is_up ? other : y) * (is_up ? y : other);
    uint32_t word = __float_as_uint(v);
    if constexpr (!Format::kInteger) word = Format::pair_up(Format::split(v), step / 2, is_odd != 0);
    if (b.place.group >= b.n_groups || withholds(kGateUp)) return;
#pragma unroll 1
    for (uint32_t r = b.place.lane + b.place.row / 2 * (step / 2); r < kClusterRanks; r += step)
      push(at_rank(to, r), at_rank(barrier, r), word);
  }
  __device__ __forceinline__ void quantise_activations() const {
    const Input in(p_.at.acted, p_.at.n_acted);
    for (uint32_t run = warp(); run < block().share.n_runs; run += kClusterWarps)
      Format::store_run(in, run, shared_at<float>(p_.at.activations + 4 * (kClusterRun * run + lane())));
    sync_warps();
  }

  // A warp has every sixteenth group, and waits for every stage, since it gives back every stage.
  __device__ __forceinline__ void run_head() {
    const ClusterHeadShare mine(p_, blockIdx.x);
    const Input in(p_.at.in_attention, p_.shape.d);
    await_arrivals(kAttentionIn, norm_parity(), kQkv);
    lap(kQkv, &StreamClock::input);
    const float factor = norm_factor(warp_sum(squares(0)), p_.head_norm_eps);
    unsigned long long best = 0;
    const uint32_t n_units = mine.n * p_.head_units;
    uint32_t group = warp(), u = 0;  // of the warp's next unit
    typename Format::Sum sum;
#pragma unroll 1
    for (uint32_t first = 0; first < n_units; first += kHeadUnits) {
      reader_.await(p_.at, p_.control, phase(kQkv));
      const uint32_t at = reader_.offset(p_.at), end = min(first + kHeadUnits, n_units);
#pragma unroll 1
      while (group * p_.head_units + u < end) {
        typename Format::Chunk unit;
        unit.load(at + (group * p_.head_units + u - first) * Format::kWarpBytes, lane());
        sum.template add<true>(unit, in, 32 * u + lane(), thread_, 32);
        if (++u < p_.head_units) continue;
        float unused = 0;
        const float y = sum.template total<false>(thread_, 32, unused) * factor;
        const uint32_t row = 4 * (mine.first + group) + lane() / 8;
        if (lane() % 8 == 0 && row < p_.vocab) {
          p_.logits[row] = y;
          best = max(best, stream_key(y, row));
        }
        sum = {};
        u = 0;
        group += kClusterWarps;
      }
      reader_.release(thread_, p_.at);
      reader_.advance(p_.at);
    }
    lap(kQkv, &StreamClock::work);
    if (p_.greedy && !withholds(kQkv)) put_best(best);
    lap(kQkv, &StreamClock::rest);
  }
  __device__ __forceinline__ void put_best(unsigned long long best) const {
#pragma unroll
    for (int mask = 16; mask > 4; mask /= 2) best = max(best, __shfl_xor_sync(0xffffffffu, best, mask));
    if (lane() == 0) block().best[warp()] = best;
    sync_warps();
    if (thread_ != 0) return;
    for (uint32_t w = 1; w < kClusterWarps; ++w) best = max(best, block().best[w]);
    atomicMax(p_.control->best + block().n_before % 2, best);
  }

  const ClusterParams& p_;
  const uint32_t thread_, rank_;
  ClusterReader reader_;
  uint32_t use_;  // of the places of partial sums: layers of all launches
  uint32_t layer_ = 0;
  float x_ = 0;  // the thread's column of the residual stream
};

}  // namespace stretto::cuda
