// Head norms, rotary embedding, cache append and attention as a phase of the persistent stream: the blocks are divided
// into runs of the context for each group of up to eight query heads (device/head_softmax.cuh); the last block of a
// group to arrive joins its runs. Keys and values of earlier tokens are on their way before the block waits.
#pragma once

#include "cuda/device/cache_stream.cuh"
#include "cuda/device/head_softmax.cuh"
#include "cuda/device/numeric.cuh"
#include "cuda/device/store.cuh"
#include "cuda/device/stream_linear.cuh"

namespace stretto::cuda {

constexpr uint32_t kMaxStreamRuns = 128;

template <class T, int kHeadDim>
struct alignas(128) StreamHeads {
  static constexpr uint32_t kRingBytes = kCacheStages * kCacheGranule * kHeadDim * sizeof(T);
  using Stream = CacheStream<kHeadDim * sizeof(T), kAttentionWarps>;
  uint8_t rings[kAttentionWarps][kRingBytes];  // later the sums of the warps, then of the runs
  QueryTiles<T, kHeadDim> q;
  T new_row[2][kHeadDim];  // of keys and values
  float scratch[kHeadsPerBlock + 1][kHeadDim];
  float unscale[kHeadsPerBlock];
  float top[kAttentionWarps][kHeadsPerBlock], sum[kAttentionWarps][kHeadsPerBlock];
};

// Between ordinary accesses and bulk copies of the same memory: later tokens of a launch copy the cache rows that
// earlier ones wrote, and the rings lie where other phases have their inputs and sums.
__device__ __forceinline__ void order_copies() { asm volatile("fence.proxy.async;" ::: "memory"); }

// The granules of a block, and its group of heads.
struct StreamRun {
  uint32_t group, index, begin, end, n_active, kv_head, first_head, n_heads, first_position;
  bool owns_new, writes;  // the token's own position is in the last granule; this block puts it into the cache

  __device__ StreamRun(const DecodeAttentionParams& p, uint32_t position) {
    const uint32_t per_kv = p.n_heads / p.n_kv_heads, groups = (per_kv + kHeadsPerBlock - 1) / kHeadsPerBlock;
    const uint32_t n_groups = p.n_kv_heads * groups;
    group = blockIdx.x % n_groups;
    index = blockIdx.x / n_groups;
    kv_head = group / groups;
    const uint32_t in_kv = group % groups * kHeadsPerBlock;
    first_head = kv_head * per_kv + in_kv;
    n_heads = min(kHeadsPerBlock, per_kv - in_kv);
    first_position = p.window != 0 && position + 1 > p.window ? position + 1 - p.window : 0;
    const uint32_t first = first_position / kCacheGranule, count = position / kCacheGranule + 1 - first;
    n_active = active_runs(count, p.n_splits, p.min_granules);
    begin = first + index * count / n_active;
    end = first + (index + 1) * count / n_active;
    owns_new = index + 1 == n_active;
    writes = owns_new && in_kv == 0;
  }
};

// A lane's dimensions lane + 32 i of a head.
template <int kHeadDim>
struct StreamHead {
  static constexpr int kPer = kHeadDim / 32;
  float v[kPer];

  __device__ __forceinline__ void load(const float* x, uint32_t lane, const StreamTurn& turn) {
    load_valid(
        v, [&](uint32_t i) { return x + lane + 32 * i; }, turn);
#pragma unroll
    for (float& y : v) y = without_flag(y);
  }
  // Normalises and rotates; `scratch` [kHeadDim] is shared memory of the warp.
  __device__ __forceinline__ void prepare(const DecodeAttentionParams& p, const float* x, const float* norm,
                                          float* scratch, uint32_t lane, const StreamTurn& turn) {
    const uint32_t n = p.rows.n_pairs;
    float w[kPer], cos[kPer], sin[kPer], sum = 0;
    // Asked for before the wait: memory takes about a microsecond to answer under the stream of weights.
#pragma unroll
    for (int i = 0; i < kPer; ++i) {
      const uint32_t d = lane + 32 * i, pair = d < n ? d : d - n;
      w[i] = cos[i] = 1;
      sin[i] = 0;
      if (norm != nullptr) load_now(w[i], norm + d);
      if (d < 2 * n) {
        load_now(cos[i], p.rows.cos + pair);
        load_now(sin[i], p.rows.sin + pair);
      }
    }
    load(x, lane, turn);
#pragma unroll
    for (int i = 0; i < kPer; ++i) sum += v[i] * v[i];
    const float r = norm != nullptr ? rms_factor(warp_sum(sum), kHeadDim, p.eps) : 1;
#pragma unroll
    for (int i = 0; i < kPer; ++i) scratch[lane + 32 * i] = v[i] *= r * w[i];
    __syncwarp();
#pragma unroll
    for (int i = 0; i < kPer; ++i) {
      const uint32_t d = lane + 32 * i;
      if (d < n) v[i] = v[i] * cos[i] - scratch[d + n] * sin[i];
      if (d >= n && d < 2 * n) v[i] = scratch[d - n] * sin[i] + v[i] * cos[i];
    }
    __syncwarp();
  }
};

// A query into shared memory, times a power of two that brings its largest part to [128, 256), so that no low part is
// lost to the smallest numbers of the type.
template <class T, int kHeadDim>
__device__ __forceinline__ void store_stream_query(StreamHeads<T, kHeadDim>& s, uint32_t head, StreamHead<kHeadDim> y,
                                                   float factor, uint32_t lane) {
  float top = 0;
#pragma unroll
  for (float& v : y.v) {
    v *= factor;
    top = fmaxf(top, fabsf(v));
  }
  const uint32_t exponent = __float_as_uint(warp_max(top)) >> 23;  // biased; all ones for infinity
  const bool in_range = exponent > 7 && exponent < 255;
  const float scale = in_range ? __uint_as_float((261 - exponent) << 23) : 1;
#pragma unroll
  for (int i = 0; i < y.kPer; ++i) s.q.store(head, lane + 32 * i, y.v[i] * scale);
  if (lane == 0) s.unscale[head] = in_range ? __uint_as_float((exponent - 7) << 23) : 1;
}

// A warp each for the queries of the block, the token's key and its value.
template <class T, int kHeadDim>
__device__ __forceinline__ void prepare_stream_heads(const DecodeAttentionParams& p, const StreamRun& run,
                                                     uint32_t position, StreamHeads<T, kHeadDim>& s,
                                                     const StreamTurn& turn) {
  const uint32_t task = threadIdx.x / 32, lane = threadIdx.x % 32;
  StreamHead<kHeadDim> y;
  if (task < run.n_heads) {
    constexpr float kLog2E = 1.4426950408889634F;
    const float factor = p.scale * kLog2E * (p.apply_temperature ? __ldcg(p.rows.temperature) : 1);
    y.prepare(p, p.q + (run.first_head + task) * kHeadDim, p.q_norm, s.scratch[task], lane, turn);
    store_stream_query(s, task, y, factor, lane);
    return;
  }
  if (!run.owns_new || task > run.n_heads + 1) return;
  const bool is_key = task == run.n_heads;
  if (is_key) {
    y.prepare(p, p.k + run.kv_head * kHeadDim, p.k_norm, s.scratch[kHeadsPerBlock], lane, turn);
  } else {
    y.load(p.v + run.kv_head * kHeadDim, lane, turn);
  }
  const CacheLayout layout{p.n_kv_heads, p.n_ctx, kHeadDim};
  T* const cache = static_cast<T*>(is_key ? p.k_cache : p.v_cache) + layout.row(run.kv_head, position);
#pragma unroll
  for (int i = 0; i < y.kPer; ++i) {
    const uint32_t column = CacheLayout::column(position, lane + 32 * i, kHeadDim, sizeof(T));
    store_as(&s.new_row[is_key ? 0 : 1][column], y.v[i]);
    if (run.writes) store_as(cache + column, y.v[i]);
  }
  order_copies();
}

// Half of the last granule as it has to be read: the token's own row put in, and nothing behind it.
template <class T, int kHeadDim>
__device__ __forceinline__ void complete_stream_granule(uint32_t half, const T* new_row, uint32_t n_valid,
                                                        uint32_t lane) {
  constexpr uint32_t kRowBytes = kHeadDim * sizeof(T);
  for (uint32_t at = 16 * lane; at < kCacheGranule * kRowBytes; at += 512) {
    const uint32_t row = at / kRowBytes;
    if (row + 1 < n_valid) continue;
    uint4 v = make_uint4(0, 0, 0, 0);
    if (row + 1 == n_valid) v = reinterpret_cast<const uint4*>(new_row)[at % kRowBytes / 16];
    asm volatile("st.shared.v4.u32 [%0], {%1, %2, %3, %4};" ::"r"(half + at), "r"(v.x), "r"(v.y), "r"(v.z), "r"(v.w)
                 : "memory");
  }
  __syncwarp();
}

// Four dimensions of the result.
__device__ __forceinline__ void store_stream_result(const DecodeAttentionParams& p, uint32_t at, float4 y, float sum,
                                                    uint32_t bit) {
  const float scale = 1 / sum;
  *reinterpret_cast<float4*>(p.out + at) = make_float4(flagged(y.x * scale, bit), flagged(y.y * scale, bit),
                                                       flagged(y.z * scale, bit), flagged(y.w * scale, bit));
}

// Partial results lie as [group of heads][run][head][top, sum, nothing, nothing, head_dim values].
template <int kHeadDim>
__device__ __forceinline__ float* stream_partial(const DecodeAttentionParams& p, uint32_t group, uint32_t run,
                                                 uint32_t head) {
  return p.partial + ((uint64_t{group} * p.n_splits + run) * kHeadsPerBlock + head) * (kHeadDim + 4);
}

// The block's warps joined: unnormalised result of four dimensions of a head, and the head's maximum and sum.
template <class S>
__device__ __forceinline__ float4 join_stream_warps(const S& s, uint32_t n_busy, uint32_t head, uint32_t quad,
                                                    float2* top_and_sum) {
  float t = s.top[0][head], total = 0;
  for (uint32_t w = 1; w < n_busy; ++w) t = fmaxf(t, s.top[w][head]);
  float4 y = make_float4(0, 0, 0, 0);
  for (uint32_t w = 0; w < n_busy; ++w) {
    const float f = exp2f(s.top[w][head] - t);
    const float4 v = reinterpret_cast<const float4*>(s.rings[w])[quad];
    total += f * s.sum[w][head];
    y = make_float4(y.x + f * v.x, y.y + f * v.y, y.z + f * v.z, y.w + f * v.w);
  }
  *top_and_sum = make_float2(t, total);
  return y;
}

// All runs of the block's group, by the whole block.
template <int kHeadDim>
__device__ __forceinline__ void join_stream_runs(const DecodeAttentionParams& p, const StreamRun& run, uint8_t* memory,
                                                 float* sums, uint32_t bit) {
  auto* const acc = reinterpret_cast<float4*>(memory);
  auto* const weight = reinterpret_cast<float*>(memory + kStreamThreads * sizeof(float4));
  const uint32_t n_quads = run.n_heads * kHeadDim / 4, n_teams = kStreamThreads / n_quads, n = run.n_active;
  const uint32_t warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  if (warp < run.n_heads) {  // a warp per head: what each run counts
    float top = kLowestScore, sum = 0;
    for (uint32_t r = lane; r < n; r += 32) top = fmaxf(top, __ldcg(stream_partial<kHeadDim>(p, run.group, r, warp)));
    top = warp_max(top);
    for (uint32_t r = lane; r < n; r += 32) {
      const float2 part = __ldcg(reinterpret_cast<const float2*>(stream_partial<kHeadDim>(p, run.group, r, warp)));
      const float f = exp2f(part.x - top);
      weight[warp * n + r] = f;
      sum += f * part.y;
    }
    sum = warp_sum(sum);
    if (lane == 0) sums[warp] = sum;
  }
  sync_block();
  const uint32_t quad = threadIdx.x % n_quads, team = threadIdx.x / n_quads, head = quad / (kHeadDim / 4);
  float4 y = make_float4(0, 0, 0, 0);
#pragma unroll 4
  for (uint32_t r = team; r < n; r += n_teams) {
    if (team >= n_teams) break;
    const float* part = stream_partial<kHeadDim>(p, run.group, r, head) + 4 + quad % (kHeadDim / 4) * 4;
    const float4 v = __ldcg(reinterpret_cast<const float4*>(part));
    const float f = weight[head * n + r];
    y = make_float4(y.x + f * v.x, y.y + f * v.y, y.z + f * v.z, y.w + f * v.w);
  }
  acc[threadIdx.x] = y;
  sync_block();
  for (uint32_t t = 1; team == 0 && t < n_teams; ++t) {
    const float4 v = acc[t * n_quads + quad];
    y = make_float4(y.x + v.x, y.y + v.y, y.z + v.z, y.w + v.w);
  }
  if (team == 0) store_stream_result(p, run.first_head * kHeadDim + 4 * quad, y, sums[head], bit);
}

// A warp's granules of the run.
template <class T, int kHeadDim, class Stream>
__device__ __forceinline__ void attend(const StreamRun& run, uint32_t position, Stream& stream,
                                       StreamHeads<T, kHeadDim>& s, const StreamTurn& turn) {
  const auto wait = [&](uint32_t barrier, uint32_t parity) { await_copy(barrier, parity, turn); };
  const uint32_t warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  HeadSoftmax<T, kHeadDim> softmax;
  softmax.unscale = s.unscale[lane / 4];
  softmax.is_used = lane / 4 < run.n_heads;
  for (uint32_t granule = run.begin + warp; granule < run.end; granule += kAttentionWarps) {
    const uint32_t from = granule * kCacheGranule, n_valid = min(position + 1 - from, kCacheGranule);
    const bool is_last = run.owns_new && granule + 1 == run.end;
    float weights[4];
    uint32_t half = stream.acquire(wait);
    if (is_last) complete_stream_granule<T, kHeadDim>(half, s.new_row[0], n_valid, lane);
    softmax.scores(s.q, half, lane, weights);
    stream.release();
    softmax.weigh(weights, static_cast<int>(run.first_position - from), static_cast<int>(n_valid), lane);
    half = stream.acquire(wait);
    if (is_last) complete_stream_granule<T, kHeadDim>(half, s.new_row[1], n_valid, lane);
    softmax.add(half, weights, lane);
    stream.release();
  }
  softmax.store(reinterpret_cast<float*>(s.rings[warp]), s.top[warp], s.sum[warp], run.n_heads, lane);
}

// Publishes the block's sums; true in the block that is the last of its group to do so.
template <int kHeadDim>
__device__ __forceinline__ bool is_last_run(const DecodeAttentionParams& p, const StreamRun& run) {
  __threadfence();
  sync_block();
  if (threadIdx.x == 0) the_block().is_last = atomicAdd(p.n_arrived + run.group, 1) + 1 == run.n_active;
  sync_block();
  if (!the_block().is_last) return false;
  if (threadIdx.x == 0) p.n_arrived[run.group] = 0;
  __threadfence();
  return true;
}

template <class T, int kHeadDim>
__device__ __noinline__ void run_attention(const StreamTurn turn, uint32_t position) {
  const uint32_t phase = turn.phase;
  using Heads = StreamHeads<T, kHeadDim>;
  StreamBlock& block = the_block();
  const DecodeAttentionParams& p = block.phase[phase % 2].attention;
  auto& s = *reinterpret_cast<Heads*>(shared + block.params.at.work);
  StreamLaps laps(block.params, phase);
  const uint32_t warp = threadIdx.x / 32;
  const StreamRun run(p, position);
  if (run.index >= run.n_active) return;
  const uint64_t head_row = CacheLayout{p.n_kv_heads, p.n_ctx, kHeadDim}.row(run.kv_head, 0) * sizeof(T);
  const uint32_t ring = min(warp, kAttentionWarps - 1);
  typename Heads::Stream stream(s.rings[ring], kCacheStages, block.cache_barriers[ring],
                                static_cast<const uint8_t*>(p.k_cache) + head_row,
                                static_cast<const uint8_t*>(p.v_cache) + head_row, run.begin + warp, run.end);
  if (warp < kAttentionWarps) {
    stream.resume(block.cache_parity[warp]);
    order_copies();
    stream.start();
    stream.prefetch(2);
  }
  prepare_stream_heads(p, run, position, s, turn);
  sync_block();
  laps.lap(&StreamClock::input);
  const uint32_t n_busy = min(kAttentionWarps, run.end - run.begin);
  if (warp < n_busy) {
    attend(run, position, stream, s, turn);
    if (threadIdx.x % 32 == 0) block.cache_parity[warp] = stream.parity();
  }
  sync_block();
  laps.lap(&StreamClock::work);

  const uint32_t n_quads = run.n_heads * kHeadDim / 4, quad = min(threadIdx.x, n_quads - 1);
  const uint32_t head = quad / (kHeadDim / 4);
  float2 top_and_sum;
  const float4 y = join_stream_warps(s, n_busy, head, quad, &top_and_sum);
  const bool has_quad = threadIdx.x < n_quads;
  if (run.n_active == 1) {
    if (has_quad) store_stream_result(p, run.first_head * kHeadDim + 4 * quad, y, top_and_sum.y, turn.out);
    return laps.lap(&StreamClock::rest);
  }
  if (has_quad) {
    float* const part = stream_partial<kHeadDim>(p, run.group, run.index, head);
    const uint32_t d = quad % (kHeadDim / 4) * 4;
    *reinterpret_cast<float4*>(part + 4 + d) = y;
    if (d == 0) *reinterpret_cast<float2*>(part) = top_and_sum;
  }
  if (is_last_run<kHeadDim>(p, run)) {
    static_assert(sizeof s.rings >= kStreamThreads * sizeof(float4) + kHeadsPerBlock * kMaxStreamRuns * sizeof(float));
    join_stream_runs<kHeadDim>(p, run, s.rings[0], s.sum[0], turn.out);
  }
  laps.lap(&StreamClock::rest);
}

}  // namespace stretto::cuda
