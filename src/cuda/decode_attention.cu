// Head norms + rotary embedding + cache append + attention.
//
// Parallel over: groups of up to four query heads that share a key/value head (x), runs of the context (y), tokens (z).
// A block's eight warps take positions in turn; the last block of a group to arrive joins the runs. How many runs there
// are follows from the length, which is read on the device: the same launch serves every position, and blocks without
// positions leave at once.
// Bytes: the visible keys and values once per group of heads. The first rows are loaded before the wait: they were
// written by earlier tokens.
// Limits: head_dim 64 or 128; caches of F32, F16, BF16.
#include <algorithm>

#include "cuda/decode_attention.h"
#include "cuda/device/dependency.cuh"
#include "cuda/device/head_softmax.cuh"
#include "cuda/device/numeric.cuh"

namespace stretto::cuda {
namespace {

constexpr int kWarps = 8;
constexpr float kLog2E = 1.4426950408889634F;
constexpr float kLowest = -1e30F;  // a finite maximum of nothing

// The positions of one block.
struct Run {
  uint32_t begin, end, n_active;
  bool owns_new;  // the step's own position is the last one
};

__device__ __forceinline__ Run run_of(const DecodeAttentionParams& p, uint32_t position, uint32_t granule) {
  const uint32_t start = p.window != 0 && position + 1 > p.window ? position + 1 - p.window : 0;
  const uint32_t count = position + 1 - start;
  uint32_t chunk = max(p.min_chunk, (count + p.n_splits - 1) / p.n_splits);
  if (p.n_splits == 1) chunk = count;
  chunk = (chunk + granule - 1) / granule * granule;
  Run run;
  run.n_active = (count + chunk - 1) / chunk;
  run.begin = start + blockIdx.y * chunk;
  run.end = min(run.begin + chunk, position + 1);
  run.owns_new = blockIdx.y + 1 == run.n_active;
  return run;
}

// The norm's weights that a lane will need, ahead of the wait.
template <int kHeadDim>
struct LaneNorm {
  static constexpr int kPer = kHeadDim / 32;
  float w[kPer];
  bool present;
  __device__ __forceinline__ LaneNorm(const float* norm, uint32_t lane) : present(norm != nullptr) {
#pragma unroll
    for (int i = 0; i < kPer; ++i) w[i] = present ? norm[lane + 32 * i] : 1;
  }
};

// One head by one warp: x (device) normalised, rotated and multiplied with `factor`, into to[head_dim] (shared).
template <int kHeadDim>
__device__ __forceinline__ void prepare_head(const DecodeAttentionParams& p, const float* x,
                                             const LaneNorm<kHeadDim>& norm, uint32_t t, float factor, float* to,
                                             uint32_t lane) {
  constexpr int kPer = kHeadDim / 32;
  const uint32_t n = p.rows.n_pairs;
  float v[kPer], cos[kPer], sin[kPer], sum = 0;
  // Everything that has to be fetched, at once.
#pragma unroll
  for (int i = 0; i < kPer; ++i) {
    const uint32_t d = lane + 32 * i, pair = d < n ? d : d - n;
    v[i] = x[d];
    cos[i] = d < 2 * n ? p.rows.cos[t * n + pair] : 1;
    sin[i] = d < 2 * n ? p.rows.sin[t * n + pair] : 0;
  }
#pragma unroll
  for (int i = 0; i < kPer; ++i) sum += v[i] * v[i];
  const float r = norm.present ? rms_factor(warp_sum(sum), kHeadDim, p.eps) : 1;
#pragma unroll
  for (int i = 0; i < kPer; ++i) to[lane + 32 * i] = v[i] *= r * norm.w[i];
  __syncwarp();
#pragma unroll
  for (int i = 0; i < kPer; ++i) {
    const uint32_t d = lane + 32 * i;
    if (d < n) v[i] = v[i] * cos[i] - to[d + n] * sin[i];
    if (d >= n && d < 2 * n) v[i] = to[d - n] * sin[i] + v[i] * cos[i];
    v[i] *= factor;
  }
  __syncwarp();
#pragma unroll
  for (int i = 0; i < kPer; ++i) to[lane + 32 * i] = v[i];
}

template <class T, int kHeadDim>
struct alignas(16) Shared {
  float q[kHeadsPerBlock][kHeadDim];
  float rotated[kHeadDim];
  T new_k[kHeadDim], new_v[kHeadDim];
  float top[kWarps][kHeadsPerBlock], sum[kWarps][kHeadsPerBlock];
  float acc[kWarps][kHeadsPerBlock][kHeadDim];
  bool is_last;
};

// Joins the warps of the block that had positions: unnormalised result of (head, d), its maximum and sum.
template <class S>
__device__ __forceinline__ float join_warps(const S& s, uint32_t n_busy, uint32_t head, uint32_t d, float* top,
                                            float* sum) {
  float tops[kWarps], t = s.top[0][head];
#pragma unroll
  for (uint32_t w = 0; w < kWarps; ++w) {
    tops[w] = w < n_busy ? s.top[w][head] : kLowest;
    t = fmaxf(t, tops[w]);
  }
  float total = 0, y = 0;
#pragma unroll
  for (uint32_t w = 0; w < kWarps; ++w) {
    const float f = exp2f(tops[w] - t), part_sum = s.sum[w][head], part = s.acc[w][head][d];
    total += w < n_busy ? f * part_sum : 0;
    y += w < n_busy ? f * part : 0;
  }
  *top = t;
  *sum = total;
  return y;
}

// Partial results lie as [group of heads][run][head][top, sum, nothing, nothing, head_dim values].
template <int kHeadDim>
__device__ __forceinline__ float* partial_of(const DecodeAttentionParams& p, uint32_t run, uint32_t head) {
  return p.partial + ((uint64_t{blockIdx.x} * p.n_splits + run) * kHeadsPerBlock + head) * (kHeadDim + 4);
}

// The result of all heads of the group from the partial results, by the whole block: threads take four dimensions of a
// head and every kTeams-th run, all their loads independent; `acc` and `weight` are shared memory.
template <int kHeadDim>
__device__ __forceinline__ void join_runs(const DecodeAttentionParams& p, uint32_t n_runs, uint32_t n_heads,
                                          float* weight, float* sums, float4* acc, float* out) {
  constexpr uint32_t kQuads = kHeadsPerBlock * kHeadDim / 4, kTeams = 32 * kWarps / kQuads;
  const uint32_t warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  if (warp < kHeadsPerBlock) {  // a warp per head: what each run counts
    float top = kLowest, sum = 0;
    for (uint32_t r = lane; r < n_runs; r += 32) top = fmaxf(top, __ldcg(partial_of<kHeadDim>(p, r, warp)));
    top = warp_max(top);
    for (uint32_t r = lane; r < n_runs; r += 32) {
      const float2 part = __ldcg(reinterpret_cast<const float2*>(partial_of<kHeadDim>(p, r, warp)));
      const float f = exp2f(part.x - top);
      weight[warp * n_runs + r] = f;
      sum += f * part.y;
    }
    sum = warp_sum(sum);
    if (lane == 0) sums[warp] = sum;
  }
  __syncthreads();
  const uint32_t quad = threadIdx.x % kQuads, team = threadIdx.x / kQuads, head = quad / (kHeadDim / 4);
  float4 y = make_float4(0, 0, 0, 0);
#pragma unroll 8
  for (uint32_t r = team; r < n_runs; r += kTeams) {
    const float* part = partial_of<kHeadDim>(p, r, head) + 4 + quad % (kHeadDim / 4) * 4;
    const float4 v = __ldcg(reinterpret_cast<const float4*>(part));
    const float f = weight[head * n_runs + r];
    y = make_float4(y.x + f * v.x, y.y + f * v.y, y.z + f * v.z, y.w + f * v.w);
  }
  acc[threadIdx.x] = y;
  __syncthreads();
  if (team != 0 || head >= n_heads) return;
#pragma unroll
  for (uint32_t t = 1; t < kTeams; ++t) {
    const float4 v = acc[t * kQuads + quad];
    y = make_float4(y.x + v.x, y.y + v.y, y.z + v.z, y.w + v.w);
  }
  const float scale = 1 / sums[head];
  reinterpret_cast<float4*>(out)[quad] = make_float4(y.x * scale, y.y * scale, y.z * scale, y.w * scale);
}

template <class T, int kHeadDim>
__global__ void __launch_bounds__(32 * kWarps, sizeof(T) == 4 ? 1 : 2)
    decode_attention_kernel(const __grid_constant__ DecodeAttentionParams p) {
  using Softmax = HeadSoftmax<T, kHeadDim>;
  constexpr uint32_t kBatch = kWarps * Softmax::kPositions;
  __shared__ Shared<T, kHeadDim> s;
  trigger_dependents();
  const uint32_t warp = threadIdx.x / 32, lane = threadIdx.x % 32, t = blockIdx.z;
  const uint32_t heads_per_kv = p.n_heads / p.n_kv_heads;
  const uint32_t groups = (heads_per_kv + kHeadsPerBlock - 1) / kHeadsPerBlock;
  const uint32_t kv_head = blockIdx.x / groups, in_kv = blockIdx.x % groups * kHeadsPerBlock;
  const uint32_t first_head = kv_head * heads_per_kv + in_kv;
  const uint32_t n_heads = min(static_cast<uint32_t>(kHeadsPerBlock), heads_per_kv - in_kv);
  const uint32_t position = static_cast<uint32_t>(*p.position) + p.first_token + t;
  const Run run = run_of(p, position, kBatch);
  if (blockIdx.y >= run.n_active) return;
  const bool appends = p.k != nullptr && run.owns_new;
  const uint32_t cached_end = appends ? run.end - 1 : run.end;

  const uint64_t stride = uint64_t{p.n_kv_heads} * kHeadDim, column = uint64_t{kv_head} * kHeadDim;
  const T* k_cache = static_cast<const T*>(p.k_cache) + column + lane % Softmax::kLanes * 8;
  const T* v_cache = static_cast<const T*>(p.v_cache) + column + lane % Softmax::kLanes * 8;
  CacheRow8<T> k[Softmax::kUnroll], v[Softmax::kUnroll];
  const auto load = [&](CacheRow8<T>(&rows)[Softmax::kUnroll], const T* cache, uint32_t from) {
#pragma unroll
    for (int j = 0; j < Softmax::kUnroll; ++j) {
      const uint32_t at = from + j * Softmax::kSide + lane / Softmax::kLanes;
      rows[j].clear();
      if (at < cached_end) rows[j].load(cache + at * stride);
    }
  };
  const auto load_both = [&](uint32_t from) {
    load(k, k_cache, from);
    load(v, v_cache, from);
  };
  uint32_t base = run.begin + warp * Softmax::kPositions;
  // Rows that this step wrote itself may only be read after the wait.
  const bool early = p.k != nullptr && p.first_token == 0;
  if (early) load_both(base);
  const LaneNorm<kHeadDim> norm(warp < kHeadsPerBlock ? p.q_norm : p.k_norm, lane);
  wait_for_inputs();
  if (!early) load_both(base);

  if (warp < kHeadsPerBlock) {
    float* to = s.q[warp];
    if (warp < n_heads) {
      const float factor = p.scale * kLog2E * (p.apply_temperature ? p.rows.temperature[t] : 1);
      const float* x = p.q + (uint64_t{t} * p.n_heads + first_head + warp) * kHeadDim;
      prepare_head<kHeadDim>(p, x, norm, t, factor, to, lane);
    } else {
      for (int i = lane; i < kHeadDim; i += 32) to[i] = 0;
    }
  } else if (appends && warp == kHeadsPerBlock) {
    prepare_head<kHeadDim>(p, p.k + column, norm, t, 1, s.rotated, lane);
    __syncwarp();
    for (int i = lane; i < kHeadDim; i += 32) {
      store_as(s.new_k + i, s.rotated[i]);
      if (in_kv == 0) store_as(static_cast<T*>(p.k_cache) + position * stride + column + i, s.rotated[i]);
    }
  } else if (appends && warp == kHeadsPerBlock + 1) {
    for (int i = lane; i < kHeadDim; i += 32) {
      const float x = p.v[column + i];
      store_as(s.new_v + i, x);
      if (in_kv == 0) store_as(static_cast<T*>(p.v_cache) + position * stride + column + i, x);
    }
  }
  __syncthreads();

  const uint32_t n_busy =
      min(static_cast<uint32_t>(kWarps), (run.end - run.begin + Softmax::kPositions - 1) / Softmax::kPositions);
  if (warp < n_busy) {
    Softmax softmax;
#pragma unroll
    for (int h = 0; h < kHeadsPerBlock; ++h)
#pragma unroll
      for (int i = 0; i < 8; ++i) softmax.q[h][i] = s.q[h][lane % Softmax::kLanes * 8 + i];
    for (; base < run.end; base += kBatch, load(v, v_cache, base)) {
      // The step's own position comes from here, not from the cache.
#pragma unroll
      for (int j = 0; j < Softmax::kUnroll; ++j) {
        if (appends && base + j * Softmax::kSide + lane / Softmax::kLanes == position) {
          k[j].load(s.new_k + lane % Softmax::kLanes * 8);
          v[j].load(s.new_v + lane % Softmax::kLanes * 8);
        }
      }
      softmax.add(k, v, static_cast<int>(run.end - base), lane, [&] { load(k, k_cache, base + kBatch); });
    }
    softmax.join();
    if (lane < Softmax::kLanes) {
#pragma unroll
      for (int h = 0; h < kHeadsPerBlock; ++h)
#pragma unroll
        for (int i = 0; i < 8; ++i) s.acc[warp][h][lane * 8 + i] = softmax.acc[h][i];
      if (lane % Softmax::kHeadLanes == 0) {
        s.top[warp][lane / Softmax::kHeadLanes] = softmax.top;
        s.sum[warp][lane / Softmax::kHeadLanes] = softmax.sum;
      }
    }
  }
  __syncthreads();

  delay_stores();
  float* const out = p.out + (uint64_t{t} * p.n_heads + first_head) * kHeadDim;
  for (uint32_t i = threadIdx.x; i < n_heads * kHeadDim; i += blockDim.x) {
    float top, sum;
    const float y = join_warps(s, n_busy, i / kHeadDim, i % kHeadDim, &top, &sum);
    if (run.n_active == 1) {
      out[i] = y / sum;
    } else {
      float* const part = partial_of<kHeadDim>(p, blockIdx.y, i / kHeadDim);
      part[4 + i % kHeadDim] = y;
      if (i % kHeadDim == 0) {
        part[0] = top;
        part[1] = sum;
      }
    }
  }
  if (run.n_active == 1) return;
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) s.is_last = atomicAdd(p.n_arrived + blockIdx.x, 1) + 1 == run.n_active;
  __syncthreads();
  if (!s.is_last) return;
  if (threadIdx.x == 0) p.n_arrived[blockIdx.x] = 0;
  __threadfence();
  // The block's own sums are no longer needed: their memory serves the last step.
  float* const memory = &s.acc[0][0][0];
  join_runs<kHeadDim>(p, run.n_active, n_heads, memory + 4 * 32 * kWarps, &s.sum[0][0],
                      reinterpret_cast<float4*>(memory), out);
}

// f(kernel) for the kernel of a cache type and head size; false when there is none.
template <class F>
bool visit_kernel(DType type, uint64_t head_dim, F&& f) {
  const auto with = [&](auto value) {
    using T = decltype(value);
    if (head_dim == 64) f(&decode_attention_kernel<T, 64>);
    if (head_dim == 128) f(&decode_attention_kernel<T, 128>);
    return head_dim == 64 || head_dim == 128;
  };
  if (type == DType::kF32) return with(float{});
  if (type == DType::kF16) return with(__half{});
  if (type == DType::kBF16) return with(__nv_bfloat16{});
  return false;
}

uint32_t n_head_groups(uint32_t n_heads, uint32_t n_kv_heads) {
  return n_kv_heads * ((n_heads / n_kv_heads + kHeadsPerBlock - 1) / kHeadsPerBlock);
}

}  // namespace

DecodeAttentionTuning tune_decode_attention(uint32_t n_heads, uint32_t n_kv_heads, uint32_t n_tokens,
                                            const DeviceShape& device, const DecodeAttentionChoice& choice) {
  DecodeAttentionTuning t;
  const uint32_t blocks = device.n_sm * std::max(1U, choice.blocks_per_sm);
  // The last block keeps a weight per run and head in shared memory.
  constexpr uint32_t kMostSplits = 128;
  t.n_splits = n_tokens > 1 ? 1 : std::clamp(blocks / n_head_groups(n_heads, n_kv_heads), 1U, kMostSplits);
  t.min_chunk = choice.min_chunk != 0 ? choice.min_chunk : 128;
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
  for (const DType type : {DType::kF32, DType::kF16, DType::kBF16})
    for (const uint64_t head_dim : {64, 128})
      visit_kernel(type, head_dim, [&](auto kernel) { prepare_kernel(kernel, device); });
}

void launch_decode_attention(Queue& queue, DType cache_type, uint32_t n_tokens, const DecodeAttentionParams& params) {
  const dim3 grid(n_head_groups(params.n_heads, params.n_kv_heads), params.n_splits, n_tokens);
  visit_kernel(cache_type, params.head_dim,
               [&](auto kernel) { launch_kernel(queue, kernel, grid, 32 * kWarps, 0, params); });
}

}  // namespace stretto::cuda
