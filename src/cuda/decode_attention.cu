// Head norms + rotary embedding + cache append + attention.
//
// Parallel over: groups of up to eight query heads that share a key/value head (x), runs of the context (y), tokens
// (z). A block's eight warps take granules of sixteen positions in turn, each through a ring of its own; the last block
// of a group to arrive joins the runs. How many runs there are follows from the length, which is read on the device:
// the same launch serves every position, and blocks without positions leave at once. Bytes: the visible keys and values
// once per group of heads. The rings are filled before the wait: what they hold was written by earlier tokens. Limits:
// head_dim 64 or 128. Caches of F16 and BF16 are read as they lie; of F8_E4M3 and Q8_0 a warp expands half a granule at
// a time to F16 (exact for F8_E4M3; the product of code and scale is rounded once for Q8_0), and goes on as for F16.
#include <algorithm>

#include "cuda/decode_attention.h"
#include "cuda/device/attention_join.cuh"
#include "cuda/device/cache_stream.cuh"
#include "cuda/device/dependency.cuh"
#include "cuda/device/head_softmax.cuh"
#include "cuda/device/lane_head.cuh"
#include "cuda/device/store.cuh"

namespace stretto::cuda {
namespace {

constexpr uint32_t kWarps = 8;
constexpr float kLog2E = 1.4426950408889634F;

constexpr uint32_t kMaxStages = 6;

template <class C, int kHeadDim>
using Reader = GranuleReader<C, kHeadDim, kWarps>;

// The granules of one block.
struct Run {
  uint32_t begin, end, n_active;
  uint32_t first_position;  // that counts at all
  bool owns_new;            // the step's own position is in the last granule
};

__device__ __forceinline__ Run run_of(const DecodeAttentionParams& p, uint32_t position) {
  Run run;
  run.first_position = p.window != 0 && position + 1 > p.window ? position + 1 - p.window : 0;
  const uint32_t first = run.first_position / kCacheGranule, count = position / kCacheGranule + 1 - first;
  run.n_active = active_runs(count, p.n_splits, p.min_granules);
  run.begin = first + blockIdx.y * count / run.n_active;
  run.end = first + (blockIdx.y + 1) * count / run.n_active;
  run.owns_new = blockIdx.y + 1 == run.n_active;
  return run;
}

template <class T, int kHeadDim, uint32_t kTokens>
struct alignas(16) Shared {
  QueryTiles<T, kHeadDim> q;
  T new_rows[2][kTokens][kHeadDim];  // of keys and values
  float scratch[kWarps][kHeadDim];
  float unscale[kHeadsPerBlock];
  float top[kWarps][kHeadsPerBlock], sum[kWarps][kHeadsPerBlock];
  uint64_t barriers[kWarps][kMaxStages];
  bool is_last;
};

// The byte at which a head's keys and values begin.
template <class C>
__device__ __forceinline__ uint64_t head_begin(const DecodeAttentionParams& p, uint32_t kv_head, uint32_t head_dim) {
  return CacheLayout{p.n_kv_heads, p.n_ctx, head_dim}.granule(kv_head, 0, C::granule_bytes(head_dim));
}

// A query into shared memory, times a power of two that brings its largest part to [128, 256), so that no low part is
// lost to the smallest numbers of the type.
template <class T, int kHeadDim, uint32_t kTokens>
__device__ __forceinline__ void store_query(Shared<T, kHeadDim, kTokens>& s, uint32_t head, LaneValues<kHeadDim> y,
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

// A key or value of the step at `position`, as the cache has it: into row j of shared memory, and where `writes` into
// the cache.
template <class C, int kHeadDim, uint32_t kTokens>
__device__ __forceinline__ void store_new_row(const DecodeAttentionParams& p,
                                              Shared<typename C::Value, kHeadDim, kTokens>& s, LaneValues<kHeadDim> y,
                                              bool is_key, uint32_t j, uint32_t position, uint32_t kv_head, bool writes,
                                              uint32_t lane) {
  C::append_row(static_cast<uint8_t*>(is_key ? p.k_cache : p.v_cache) + head_begin<C>(p, kv_head, kHeadDim), position,
                y, writes, lane);
#pragma unroll
  for (int i = 0; i < y.kPer; ++i) {
    const uint32_t column = CacheLayout::column(position, lane + 32 * i, kHeadDim, sizeof(typename C::Value));
    store_as(&s.new_rows[is_key ? 0 : 1][j][column], y.v[i]);
  }
}

// A warp's share of a block's work before attention: queries, then keys and values of the step's tokens in turn.
struct HeadTask {
  bool is_query, is_key;
  uint32_t token;     // of a key or value
  const float* x;     // device
  const float* norm;  // nullptr: none

  __device__ __forceinline__ HeadTask(const DecodeAttentionParams& p, uint32_t task, uint32_t n_heads,
                                      uint32_t first_head, uint32_t kv_head, uint32_t t) {
    is_query = task < n_heads;
    const uint32_t row = is_query ? 0 : task - n_heads;
    is_key = !is_query && row % 2 == 0;
    token = row / 2;
    const uint32_t heads = is_query ? t * p.n_heads + first_head + task : token * p.n_kv_heads + kv_head;
    x = (is_query ? p.q : is_key ? p.k : p.v) + uint64_t{heads} * p.head_dim;
    norm = is_query ? p.q_norm : is_key ? p.k_norm : nullptr;
  }
};

// The block's queries, and where it `has_new` granules the keys and values of the step up to its own token, which it
// appends where it `writes`. A warp's next task is on its way while it works at one: eight queries leave the new row to
// a second turn, whose trip to the L2 cache would be 0.8 us of a layer.
template <class C, int kHeadDim, uint32_t kTokens>
__device__ __forceinline__ void prepare_heads(const DecodeAttentionParams& p,
                                              Shared<typename C::Value, kHeadDim, kTokens>& s,
                                              LaneValues<kHeadDim> norm, uint32_t first_head, uint32_t n_heads,
                                              uint32_t kv_head, uint32_t first_new, bool has_new, bool writes) {
  const uint32_t warp = threadIdx.x / 32, lane = threadIdx.x % 32, t = kTokens == 1 ? 0 : blockIdx.z;
  const uint32_t n_tasks = n_heads + (has_new ? 2 * (t + 1) : 0);
  const auto fetch = [&](const HeadTask& of) {
    return fetch_head<kHeadDim>(p, of.x, of.is_query ? t : of.token, lane);
  };
  if (warp >= n_tasks) return;
  HeadTask at(p, warp, n_heads, first_head, kv_head, t);
  FetchedHead<kHeadDim> head = fetch(at);
#pragma unroll 1
  for (uint32_t task = warp; task < n_tasks; task += kWarps) {
    const HeadTask next(p, min(task + kWarps, n_tasks - 1), n_heads, first_head, kv_head, t);
    FetchedHead<kHeadDim> next_head;
    LaneValues<kHeadDim> next_norm;
    if (task + kWarps < n_tasks) {
      next_head = fetch(next);
      next_norm = load_norm<kHeadDim>(next.norm, lane);
    }
    const LaneValues<kHeadDim> y =
        at.is_query || at.is_key ? prepare_head<kHeadDim>(p, head, norm, at.norm != nullptr, s.scratch[warp], lane)
                                 : head.x;
    if (at.is_query) {
      const float factor = p.scale * kLog2E * (p.apply_temperature ? p.rows.temperature[t] : 1);
      store_query(s, task, y, factor, lane);
    } else {
      store_new_row<C>(p, s, y, at.is_key, at.token, first_new + at.token, kv_head, writes && at.token == t, lane);
    }
    at = next;
    head = next_head;
    norm = next_norm;
  }
}

// Rows of half a granule as they have to be read, from `first_new` to below `end`: the step's own rows, and nothing
// from row n_valid on.
template <class T, int kHeadDim>
__device__ __forceinline__ void complete_granule(uint32_t half, const T* new_rows, int first_new, int n_valid, int end,
                                                 uint32_t lane) {
  constexpr int kRowBytes = kHeadDim * 2;
  const int begin = first_new * kRowBytes;
#pragma unroll 1
  for (int at = begin + 16 * static_cast<int>(lane); at < end * kRowBytes; at += 512) {
    uint4 v = make_uint4(0, 0, 0, 0);
    if (at < n_valid * kRowBytes) v = reinterpret_cast<const uint4*>(new_rows)[(at - begin) / 16];
    store_shared(half + at, v);
  }
  __syncwarp();
}

// Joins the warps of the block that had positions: unnormalised result of four dimensions of a head, at `quad` of the
// group, and the head's maximum and sum.
template <class S>
__device__ __forceinline__ float4 join_warps(const S& s, const uint8_t* rings, uint32_t ring_bytes, uint32_t n_busy,
                                             uint32_t head, uint32_t quad, float2* top_and_sum) {
  float tops[kWarps], t = s.top[0][head];
#pragma unroll
  for (uint32_t w = 0; w < kWarps; ++w) {
    tops[w] = w < n_busy ? s.top[w][head] : kLowestScore;
    t = fmaxf(t, tops[w]);
  }
  float total = 0;
  float4 y = make_float4(0, 0, 0, 0);
#pragma unroll
  for (uint32_t w = 0; w < kWarps; ++w) {
    if (w >= n_busy) break;
    const float f = exp2f(tops[w] - t);
    const float4 v = reinterpret_cast<const float4*>(rings + w * ring_bytes)[quad];
    total += f * s.sum[w][head];
    y = make_float4(y.x + f * v.x, y.y + f * v.y, y.z + f * v.z, y.w + f * v.w);
  }
  *top_and_sum = make_float2(t, total);
  return y;
}

template <class C, int kHeadDim, uint32_t kTokens>
__global__ void __launch_bounds__(32 * kWarps, 2)
    decode_attention_kernel(const __grid_constant__ DecodeAttentionParams p) {
  using T = typename C::Value;
  extern __shared__ __align__(128) uint8_t rings[];
  __shared__ Shared<T, kHeadDim, kTokens> s;
  if (p.trigger == Trigger::kEntry) trigger_dependents();
  const uint32_t warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const uint32_t t = kTokens == 1 ? 0 : blockIdx.z;
  const uint32_t heads_per_kv = p.n_heads / p.n_kv_heads;
  const uint32_t groups = (heads_per_kv + kHeadsPerBlock - 1) / kHeadsPerBlock;
  const uint32_t kv_head = blockIdx.x / groups, in_kv = blockIdx.x % groups * kHeadsPerBlock;
  const uint32_t first_head = kv_head * heads_per_kv + in_kv, n_heads = min(kHeadsPerBlock, heads_per_kv - in_kv);
  const uint32_t first_new = static_cast<uint32_t>(*p.position), position = first_new + t;
  const Run run = run_of(p, position);
  if (blockIdx.y >= run.n_active) return;

  const uint64_t begin = head_begin<C>(p, kv_head, kHeadDim);
  const uint32_t ring_bytes = Reader<C, kHeadDim>::ring_bytes(p.n_stages);
  Reader<C, kHeadDim> reader(rings + warp * ring_bytes, p.n_stages, s.barriers[warp],
                             static_cast<const uint8_t*>(p.k_cache) + begin,
                             static_cast<const uint8_t*>(p.v_cache) + begin, run.begin + warp, run.end);
  // More under way before the wait would delay what the kernel in front of this one still reads.
  const uint32_t n_early = min(p.n_early_stages, p.n_stages);
  reader.start(0, n_early);
  const LaneValues<kHeadDim> norm = load_norm<kHeadDim>(warp < n_heads ? p.q_norm : p.k_norm, lane);
  if (p.trigger == Trigger::kAsked) trigger_dependents();
  wait_for_inputs();
  const bool is_alone = run.n_active == 1;
  if (p.trigger == Trigger::kInput && is_alone) trigger_dependents();
  reader.start(n_early, p.n_stages);
  prepare_heads<C>(p, s, norm, first_head, n_heads, kv_head, first_new, run.end * kCacheGranule > first_new,
                   in_kv == 0 && run.owns_new);
  __syncthreads();
  if (p.trigger == Trigger::kInput && !is_alone) trigger_dependents();

  const uint32_t n_busy = min(kWarps, run.end - run.begin);
  if (warp < n_busy) {
    HeadSoftmax<T, kHeadDim> softmax;
    softmax.unscale = s.unscale[lane / 4];
    softmax.is_used = lane / 4 < n_heads;
    for (uint32_t granule = run.begin + warp; granule < run.end; granule += kWarps) {
      const auto from = static_cast<int>(granule * kCacheGranule);
      const int n_valid = min(static_cast<int>(position) + 1 - from, static_cast<int>(kCacheGranule));
      // Rows of this granule that are older than the step; the first of the step's own in it.
      const int n_old = static_cast<int>(first_new) - from, skipped = max(0, -n_old);
      const bool has_new = n_old < static_cast<int>(kCacheGranule);
      float weights[4];
      uint32_t half = reader.take(lane);
      // Keys behind the valid ones may be anything: their scores do not count.
      if (has_new) complete_granule<T, kHeadDim>(half, s.new_rows[0][skipped], max(0, n_old), n_valid, n_valid, lane);
      softmax.scores(s.q, half, lane, weights);
      reader.give_back();
      softmax.weigh(weights, static_cast<int>(run.first_position) - from, n_valid, lane);
      half = reader.take(lane);
      if (has_new)
        complete_granule<T, kHeadDim>(half, s.new_rows[1][skipped], max(0, n_old), n_valid, kCacheGranule, lane);
      softmax.add(half, weights, lane);
      reader.give_back();
    }
    softmax.store(reinterpret_cast<float*>(rings + warp * ring_bytes), s.top[warp], s.sum[warp], n_heads, lane);
  }
  __syncthreads();

  delay_stores();
  const uint64_t at = uint64_t{first_head} * kHeadDim;
  const uint32_t n_quads = n_heads * kHeadDim / 4, quad = min(threadIdx.x, n_quads - 1), head = quad / (kHeadDim / 4);
  float2 top_and_sum;
  const float4 y = join_warps(s, rings, ring_bytes, n_busy, head, quad, &top_and_sum);
  const bool has_quad = threadIdx.x < n_quads;
  if (run.n_active == 1) return store_result(p, at + 4 * quad, y, top_and_sum.y, has_quad);
  if (has_quad) {
    float* const part = partial_of<kHeadDim>(p, blockIdx.y, head);
    const uint32_t d = quad % (kHeadDim / 4) * 4;
    *reinterpret_cast<float4*>(part + 4 + d) = y;
    if (d == 0) *reinterpret_cast<float2*>(part) = top_and_sum;
  }
  join_runs<kHeadDim>(p, run.n_active, n_heads, at, kWarps, s.is_last);
}

template <class C, int kHeadDim>
struct KernelOf {
  static constexpr uint32_t ring_bytes(uint32_t n_stages) { return Reader<C, kHeadDim>::ring_bytes(n_stages); }
  static auto get(bool several) {
    return several ? &decode_attention_kernel<C, kHeadDim, kMaxAttentionTokens>
                   : &decode_attention_kernel<C, kHeadDim, 1>;
  }
};

// f(KernelOf{}) for a cache type and head size; false when there is none.
template <class F>
bool visit_kernel(DType type, uint64_t head_dim, F&& f) {
  if (head_dim != 64 && head_dim != 128) return false;
  return visit_stored_cache(type, [&](auto cache) {
    using C = decltype(cache);
    if (head_dim == 64) f(KernelOf<C, 64>{});
    if (head_dim == 128) f(KernelOf<C, 128>{});
  });
}

uint32_t n_head_groups(uint32_t n_heads, uint32_t n_kv_heads) {
  return n_kv_heads * ((n_heads / n_kv_heads + kHeadsPerBlock - 1) / kHeadsPerBlock);
}

}  // namespace

DecodeAttentionTuning tune_decode_attention(DType cache_type, uint32_t n_heads, uint32_t n_kv_heads, uint32_t head_dim,
                                            const DeviceShape& device, const DecodeAttentionChoice& choice) {
  DecodeAttentionTuning t;
  const uint32_t blocks = device.n_sm * std::max(1U, choice.blocks_per_sm);
  // Measured, see active_runs(); where a block has eight heads 10 are 1.4 % of a token better (30B-A3B, depth 8192).
  const uint32_t min_granules = n_heads / n_kv_heads < kHeadsPerBlock ? 8 : 10;
  t.n_splits = std::clamp(blocks / n_head_groups(n_heads, n_kv_heads), 1U, kMostAttentionSplits);
  if (t.n_splits > 32) t.n_splits = t.n_splits / 32 * 32;  // whole rounds of loads where they are joined
  // Bytes of a warp's ring, measured with 16-bit caches: four stages are better than any other number from 2 to 6, but
  // where a block has eight heads three are 3 % of a token better (30B-A3B at depth 8192; two as good). Devices with
  // 100 KB of shared memory take less.
  constexpr uint32_t kStaticBytes = 17 << 10;
  const uint32_t stages = n_heads / n_kv_heads < kHeadsPerBlock ? 4 : 3;
  const uint32_t fits = (device.shared_bytes_per_block - kStaticBytes) / kWarps;
  const uint32_t most = std::min(stages * kCacheGranule * head_dim * 2, fits);
  visit_kernel(cache_type, head_dim, [&](auto kernel) {
    t.n_stages = choice.n_stages != 0 ? std::min(choice.n_stages, kMaxStages) : kMaxStages;
    while (t.n_stages > 2 && kernel.ring_bytes(t.n_stages) > (choice.n_stages != 0 ? fits : most)) --t.n_stages;
  });
  t.n_early_stages = choice.n_early_stages != 0 ? choice.n_early_stages : std::max(2U, t.n_stages - 1);
  t.trigger = trigger_of(choice.trigger, Trigger::kEntry);
  t.min_granules = choice.min_granules != 0 ? choice.min_granules : min_granules;
  return t;
}

DecodeAttentionScratch decode_attention_scratch(uint32_t n_heads, uint32_t n_kv_heads, uint32_t head_dim,
                                                uint32_t n_splits) {
  const uint64_t groups = n_head_groups(n_heads, n_kv_heads);
  return {.partial = groups * n_splits * kHeadsPerBlock * (head_dim + 4), .n_arrived = groups};
}

bool decode_attention_supports(DType cache_type, uint64_t head_dim) {
  return visit_kernel(cache_type, head_dim, [](auto) {});
}

void prepare_decode_attention(const DeviceShape& device) {
  for (const DType type : {DType::kF16, DType::kBF16, DType::kF8_E4M3, DType::kQ8_0})
    for (const uint64_t head_dim : {64, 128})
      for (const bool several : {false, true})
        visit_kernel(type, head_dim, [&](auto kernel) { prepare_kernel(kernel.get(several), device); });
}

void launch_decode_attention(Queue& queue, DType cache_type, uint32_t n_tokens, uint32_t n_sm,
                             DecodeAttentionParams params) {
  const dim3 grid(n_head_groups(params.n_heads, params.n_kv_heads), params.n_splits, n_tokens);
  params.waits = grid.x * grid.y * grid.z <= n_sm;  // an SM has room for one block at least
  visit_kernel(cache_type, params.head_dim, [&](auto kernel) {
    launch_kernel(queue, kernel.get(n_tokens > 1), grid, 32 * kWarps, kWarps * kernel.ring_bytes(params.n_stages),
                  params);
  });
}

}  // namespace stretto::cuda
