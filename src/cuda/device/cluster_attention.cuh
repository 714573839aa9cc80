// One query head over a run of its context, by a block: head norm, rotary embedding, cache append, attention. The
// blocks of a cluster that share a head's context send their sums to the first of them.
//
// A warp has eight positions at a time, a lane kPer neighbouring dimensions of each: what keys and values of a few
// hundred positions take is the way of the data, not the arithmetic, so there are no matrix instructions here.
#pragma once

#include "cuda/device/cluster_block.cuh"
#include "cuda/device/numeric.cuh"
#include "cuda/device/store.cuh"

namespace stretto::cuda {

// kHeadDim / 32 neighbouring elements of a row of keys or values, as they lie.
template <class T, int kHeadDim>
struct CacheQuad {
  static constexpr int kPer = kHeadDim / 32;
  uint32_t word[kPer / 2];

  __device__ __forceinline__ void load(const uint8_t* p) {
    if constexpr (kPer == 4) {
      const uint2 v = __ldcg(reinterpret_cast<const uint2*>(p));
      word[0] = v.x, word[1] = v.y;
    } else {
      word[0] = __ldcg(reinterpret_cast<const uint32_t*>(p));
    }
  }
  __device__ __forceinline__ void set(const float (&v)[kPer]) {
    alignas(8) T out[kPer];
#pragma unroll
    for (int i = 0; i < kPer; ++i) store_as(out + i, v[i]);
    memcpy(word, out, sizeof word);
  }
  __device__ __forceinline__ void store(uint8_t* p) const {
    if constexpr (kPer == 4) {
      *reinterpret_cast<uint2*>(p) = make_uint2(word[0], word[1]);
    } else {
      *reinterpret_cast<uint32_t*>(p) = word[0];
    }
  }
  __device__ __forceinline__ float at(int i) const {
    T pair[2];
    memcpy(pair, &word[i / 2], sizeof pair);
    return as_float(pair[i % 2]);
  }
};

// Without the care for results below 1e-38.
__device__ __forceinline__ float exp2_of(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

template <class T, int kHeadDim>
class ClusterAttention {
 public:
  static constexpr int kPer = kHeadDim / 32, kRows = static_cast<int>(kClusterPositions);
  using Quad = CacheQuad<T, kHeadDim>;

  __device__ __forceinline__ ClusterAttention(const ClusterParams& p, uint32_t layer, const ClusterRun& run)
      : p_(p),
        layer_(cluster_block().layer[layer]),
        run_(run),
        position_(cluster_block().position),
        row_(CacheLayout{p.shape.n_kv_heads, p.n_ctx, kHeadDim}.row(run.kv_head, 0)) {}

  // The run's result: each warp's in `kept`, `top` and `sum` of the block; `await` waits for query, key and value.
  template <class Await>
  __device__ __forceinline__ void run(const Await& await) {
    if (role() == kClusterWarps - 1) {
      attend_to_new(await);
    } else {
      attend_to_old(await);
    }
  }

  static constexpr float kLeast = -1e30F;

 private:
  // The rows of earlier tokens.
  template <class Await>
  __device__ __forceinline__ void attend_to_old(const Await& await) {
    const uint32_t end = min(run_.end, position_);
    uint32_t from = run_.begin + kClusterPositions * role();
    float q[kPer] = {}, q_factor = 0, top = kLeast, sum = 0, y[kPer] = {};
    bool is_first = true;
#pragma unroll 1
    while (from < end) {
      Quad k[kRows], v[kRows];
      load(layer_.k_cache, from, k);
      load(layer_.v_cache, from, v);
      if (is_first) {
        float norm[1][kPer];
        load_norm(layer_.q_norm, norm[0]);
        await();
        float prepared[1][kPer], norm_factor[1];
        prepare(norm, prepared, norm_factor);
#pragma unroll
        for (int i = 0; i < kPer; ++i) q[i] = prepared[0][i];
        q_factor = norm_factor[0] * factor();
        is_first = false;
      }
      // Rows that are not the run's may hold anything.
      if (end - from < kClusterPositions) {
#pragma unroll
        for (uint32_t j = 0; j < kRows; ++j)
          if (from + j >= end) v[j] = {};
      }
      const float score = q_factor * scores(q, k);
      add(from + lane() / 4 < end ? score : kLeast, v, top, sum, y);
      from += kClusterStep;
    }
    keep(top, sum, y);
  }

  // The token's own row, rounded as the cache rounds it, and into the cache.
  template <class Await>
  __device__ __forceinline__ void attend_to_new(const Await& await) {
    float norm[2][kPer], x[2][kPer], norm_factor[2], score = 0;
    load_norm(layer_.q_norm, norm[0]);
    load_norm(layer_.k_norm, norm[1]);
    await();
    float value[kPer];
#pragma unroll
    for (int i = 0; i < kPer; ++i) value[i] = cluster_block().head[2][kPer * lane() + i];
    prepare(norm, x, norm_factor);
#pragma unroll
    for (int i = 0; i < kPer; ++i) x[1][i] *= norm_factor[1];
    Quad new_key, new_value;
    new_key.set(x[1]);
    new_value.set(value);
#pragma unroll
    for (int i = 0; i < kPer; ++i) {
      score += x[0][i] * new_key.at(i);
      value[i] = new_value.at(i);
    }
    score = warp_sum(score) * norm_factor[0] * factor();
    keep(run_.owns_new ? score : kLeast, run_.owns_new ? 1 : 0, value);
    if (!run_.writes) return;
    new_key.store(rows_at(layer_.k_cache, position_ / 8 * 8) + offset(position_ % 8));
    new_value.store(rows_at(layer_.v_cache, position_ / 8 * 8) + offset(position_ % 8));
  }

  // The first warps are the last ones, for they have more to do before.
  __device__ __forceinline__ static uint32_t role() {
    return (threadIdx.x / 32 + kClusterWarps / 2 - 1) % kClusterWarps;
  }
  __device__ __forceinline__ float factor() const { return p_.attention_scale * 1.4426950408889634F; }
  __device__ __forceinline__ static void keep(float top, float sum, const float (&y)[kPer]) {
    ClusterBlock& block = cluster_block();
    const uint32_t warp = role();
#pragma unroll
    for (int i = 0; i < kPer; ++i) block.kept[warp][kPer * lane() + i] = y[i];
    if (lane() != 0) return;
    block.top[warp] = top;
    block.sum[warp] = sum;
  }

  __device__ __forceinline__ static uint32_t lane() { return threadIdx.x % 32; }
  // Where the lane's part of a row lies that follows a multiple of eight by j, in bytes.
  __device__ __forceinline__ static uint32_t offset(uint32_t j) {
    return sizeof(T) * (j * kHeadDim + CacheLayout::column(j, kPer * lane(), kHeadDim, sizeof(T)));
  }
  __device__ __forceinline__ uint8_t* rows_at(void* cache, uint32_t position) const {
    return static_cast<uint8_t*>(cache) + sizeof(T) * (row_ + uint64_t{position} * kHeadDim);
  }
  // Eight rows from `from` on, a multiple of eight: so many does the cache hold.
  __device__ __forceinline__ void load(void* cache, uint32_t from, Quad (&rows)[kRows]) const {
    const uint8_t* const at = rows_at(cache, from);
#pragma unroll
    for (uint32_t j = 0; j < kRows; ++j) rows[j].load(at + offset(j));
  }
  __device__ __forceinline__ static void load_norm(const float* norm, float (&w)[kPer]) {
    using Vector = std::conditional_t<kPer == 4, float4, float2>;
    if (norm != nullptr) {
      const Vector v = __ldg(reinterpret_cast<const Vector*>(norm) + lane());
      memcpy(w, &v, sizeof w);
      return;
    }
#pragma unroll
    for (float& x : w) x = 1;
  }
  // The first n of query and key, times the norm's weights and rotated, and the norm's factor, which is ready later.
  // The other element of a pair is half a head away: sixteen lanes.
  template <size_t n>
  __device__ __forceinline__ void prepare(const float (&w)[n][kPer], float (&y)[n][kPer], float (&factor)[n]) const {
    const ClusterBlock& block = cluster_block();
    float cos[kPer], sin[kPer];
#pragma unroll
    for (int i = 0; i < kPer; ++i) {
      cos[i] = block.cos[kPer * (lane() % 16) + i];
      sin[i] = block.sin[kPer * (lane() % 16) + i];
    }
    const bool upper = lane() >= 16;
#pragma unroll
    for (size_t h = 0; h < n; ++h) {
      factor[h] = 0;
#pragma unroll
      for (int i = 0; i < kPer; ++i) {
        const float x = block.head[h][kPer * lane() + i], own = x * w[h][i];
        factor[h] += x * x;
        const float other = __shfl_xor_sync(0xffffffffu, own, 16);
        y[h][i] = own * cos[i] + (upper ? other : -other) * sin[i];
      }
    }
#pragma unroll
    for (int mask = 16; mask > 0; mask /= 2)
#pragma unroll
      for (size_t h = 0; h < n; ++h) factor[h] += __shfl_xor_sync(0xffffffffu, factor[h], mask);
#pragma unroll
    for (size_t h = 0; h < n; ++h)
      factor[h] = layer_.q_norm != nullptr ? rms_factor(factor[h], kHeadDim, p_.qk_eps) : 1;
  }
  // The product of the query and row lane / 4.
  __device__ __forceinline__ float scores(const float (&q)[kPer], const Quad (&k)[kRows]) const {
    float s[kRows];
#pragma unroll
    for (int j = 0; j < kRows; ++j) {
      s[j] = 0;
#pragma unroll
      for (int i = 0; i < kPer; ++i) s[j] += q[i] * k[j].at(i);
    }
#pragma unroll
    for (int n = kRows / 2, mask = 16; n > 0; n /= 2, mask /= 2) {
      const bool upper = (lane() & mask) != 0;
#pragma unroll
      for (int j = 0; j < n; ++j) {
        const float give = upper ? s[j] : s[j + n], keep = upper ? s[j + n] : s[j];
        s[j] = keep + __shfl_xor_sync(0xffffffffu, give, mask);
      }
    }
    float score = s[0];
    score += __shfl_xor_sync(0xffffffffu, score, 2);
    score += __shfl_xor_sync(0xffffffffu, score, 1);
    return score;
  }
  __device__ __forceinline__ static void add(float score, const Quad (&v)[kRows], float& top, float& sum,
                                             float (&y)[kPer]) {
    float new_top = score;
#pragma unroll
    for (int mask = 16; mask > 2; mask /= 2) new_top = fmaxf(new_top, __shfl_xor_sync(0xffffffffu, new_top, mask));
    new_top = fmaxf(top, new_top);
    const float shrink = exp2_of(top - new_top), weight = exp2_of(score - new_top);
    top = new_top;
    float part = weight;
#pragma unroll
    for (int mask = 16; mask > 2; mask /= 2) part += __shfl_xor_sync(0xffffffffu, part, mask);
    sum = sum * shrink + part;
#pragma unroll
    for (float& x : y) x *= shrink;
#pragma unroll
    for (int j = 0; j < kRows; ++j) {
      const float w = __shfl_sync(0xffffffffu, weight, 4 * j);
#pragma unroll
      for (int i = 0; i < kPer; ++i) y[i] += w * v[j].at(i);
    }
  }

  const ClusterParams& p_;
  const ClusterLayer& layer_;
  const ClusterRun& run_;
  const uint32_t position_;
  const uint64_t row_;
};

// Element d of the block's run, from its warps: the unnormalised sum.
__device__ __forceinline__ float join_warps(uint32_t d, float& top, float& total) {
  const ClusterBlock& block = cluster_block();
  float tops[kClusterWarps], sums[kClusterWarps];
#pragma unroll
  for (uint32_t w = 0; w < kClusterWarps; w += 4) {
    *reinterpret_cast<float4*>(tops + w) = *reinterpret_cast<const float4*>(block.top + w);
    *reinterpret_cast<float4*>(sums + w) = *reinterpret_cast<const float4*>(block.sum + w);
  }
  top = tops[0];
#pragma unroll
  for (uint32_t w = 1; w < kClusterWarps; ++w) top = fmaxf(top, tops[w]);
  float y = 0;
  total = 0;
#pragma unroll
  for (uint32_t w = 0; w < kClusterWarps; ++w) {
    const float factor = exp2_of(tops[w] - top);
    total += factor * sums[w];
    y += factor * block.kept[w][d];
  }
  return y;
}

// The same from the runs of a context, as they have arrived.
__device__ __noinline__ float join_runs(uint32_t d, uint32_t n, float& total) {
  const ClusterBlock& block = cluster_block();
  float top = block.joined[0][128], y = 0;
#pragma unroll 1
  for (uint32_t i = 1; i < n; ++i) top = fmaxf(top, block.joined[i][128]);
  total = 0;
#pragma unroll 1
  for (uint32_t i = 0; i < n; ++i) {
    const float factor = exp2_of(block.joined[i][128] - top);
    total += factor * block.joined[i][129];
    y += factor * block.joined[i][d];
  }
  return y;
}

// The block's run of a layer's attention; where the head is whole, its result goes to all ranks as that head's columns
// of the output projection's input.
template <class Format, class T, int kHeadDim>
__device__ __noinline__ void attend(const ClusterParams& p, uint32_t layer, uint32_t parity) {
  ClusterBlock& block = cluster_block();
  const ClusterRun& run = block.run;
  const uint32_t phase = 5 * layer + 2;
  ClusterAttention<T, kHeadDim>(p, layer, run).run([&] { await_vector(kHeadIn, parity, p.control, phase); });
  sync_warps();
  if (threadIdx.x >= kHeadDim) return;
  const uint32_t d = threadIdx.x;
  float top, total;
  float y = join_warps(d, top, total);
  if (run.n_active > 1) {
    const uint32_t n_heads = block.share.n_kv * (p.shape.n_heads / p.shape.n_kv_heads);
    const uint32_t first = cluster_rank() % n_heads, there = at_rank(cluster_barrier(kJoined), first);
    random_delay();
    push(at_rank(offset_of(&block.joined[run.index][d]), first), there, y);
    if (d < 2) push(at_rank(offset_of(&block.joined[run.index][128 + d]), first), there, d == 0 ? top : total);
    if (run.index > 0) return;
    await_vector(kJoined, parity, p.control, phase);
    y = join_runs(d, run.n_active, total);
  }
  const typename Format::Input in(p.at.attended, p.at.n_attended);
  if (p.withheld == phase && blockIdx.x == 0) return;
  Format::push_run(in, run.head * (kHeadDim / 32) + threadIdx.x / 32, __fdividef(y, total), cluster_barrier(kAttended),
                   false);
}

}  // namespace stretto::cuda
