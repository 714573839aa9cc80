// Attention of large steps (Dao, "FlashAttention-2", arXiv 2307.08691: tiles of keys in order with an online softmax).
//
// prepare_kernel: a warp per head of q, k and v of a token; normalises, rotates, rounds, and appends to the cache.
// attention_kernel: parallel over key/value heads (y) and runs of 128 rows (x), where a row is one query head of one
// token, so that all heads of a token that share keys share what is loaded; the runs with the longest contexts start
// first. A warp owns 32 rows. Tiles of 64 keys and values come through two stages of shared memory, as they lie in the
// cache; those of 8-bit caches are expanded to F16 on their way to a third pair of tiles, a granule by each warp: a
// tile's 2 * 64 * head_dim conversions beside its 4 * 128 * 64 * head_dim operations on tensor cores, and neither
// scratch memory nor another pass over the cache. Bytes: keys and values once per run of rows, from the second-level
// cache. Limits: head_dim 64 or 128.
#include "cuda/prefill_attention.h"

#include "cuda/device/async_copy.cuh"
#include "cuda/device/cache_format.cuh"
#include "cuda/device/dependency.cuh"
#include "cuda/device/lane_head.cuh"
#include "cuda/device/mma.cuh"
#include "cuda/device/store.cuh"

namespace stretto::cuda {
namespace {

constexpr uint32_t kWarps = 4, kRowTiles = 2, kWarpRows = 16 * kRowTiles, kRows = kWarps * kWarpRows;
constexpr uint32_t kTile = 64, kStages = 2;
constexpr float kLog2E = 1.4426950408889634F;
constexpr float kLowestScore = -1e30F;  // finite, so that differences are never NaN

template <class C, int kHeadDim>
__global__ void __launch_bounds__(256) prepare_kernel(const __grid_constant__ PrefillAttentionParams p) {
  using T = typename C::Value;
  __shared__ float scratch[8][kHeadDim];
  trigger_dependents();
  wait_for_inputs();
  const uint32_t warp = threadIdx.x / 32, lane = threadIdx.x % 32, n_kv = p.layout.n_kv_heads;
  const uint32_t per_token = p.n_heads + 2 * n_kv;
  const uint64_t task = uint64_t{blockIdx.x} * 8 + warp;
  const auto t = static_cast<uint32_t>(task / per_token);
  uint32_t head = static_cast<uint32_t>(task % per_token);
  if (t >= p.n_tokens) return;
  if (head < p.n_heads) {
    const uint64_t at = (uint64_t{t} * p.n_heads + head) * kHeadDim;
    LaneValues<kHeadDim> y =
        prepare_head<kHeadDim>(p, fetch_head<kHeadDim>(p, p.q + at, t, lane), load_norm<kHeadDim>(p.q_norm, lane),
                               p.q_norm != nullptr, scratch[warp], lane);
    const float factor = p.scale * kLog2E * (p.apply_temperature ? p.rows.temperature[t] : 1);
    T* out = static_cast<T*>(p.queries) + at;
#pragma unroll
    for (int i = 0; i < y.kPer; ++i) store_as(out + lane + 32 * i, y.v[i] * factor);
    return;
  }
  head -= p.n_heads;
  const bool is_key = head < n_kv;
  if (!is_key) head -= n_kv;
  const float* x = (is_key ? p.k : p.v) + (uint64_t{t} * n_kv + head) * kHeadDim;
  LaneValues<kHeadDim> y =
      is_key ? prepare_head<kHeadDim>(p, fetch_head<kHeadDim>(p, x, t, lane), load_norm<kHeadDim>(p.k_norm, lane),
                                      p.k_norm != nullptr, scratch[warp], lane)
             : load_values<kHeadDim>(x, lane);
  const uint32_t position = static_cast<uint32_t>(*p.position) + t;
  uint8_t* const cache = static_cast<uint8_t*>(is_key ? p.k_cache : p.v_cache);
  C::append_row(cache + p.layout.granule(head, 0, C::granule_bytes(kHeadDim)), position, y, true, lane);
}

template <class C, int kHeadDim>
struct StoredTiles {
  alignas(128) uint8_t rows[2][kTile / kCacheGranule * C::granule_bytes(kHeadDim)];
};
struct Nothing {};

template <class C, int kHeadDim>
struct Shared {
  using T = typename C::Value;
  // Tiles as they are multiplied: a stage each, or one that is expanded from `stored`.
  static constexpr uint32_t kTiles = C::kExpands ? 1 : kStages;
  alignas(128) T k[kTiles][kTile * kHeadDim];
  alignas(128) T v[kTiles][kTile * kHeadDim];
  std::conditional_t<C::kExpands, StoredTiles<C, kHeadDim>, Nothing> stored[kStages];
  alignas(16) T q[kRows][kHeadDim + 8];  // rows in different banks
  uint64_t k_barrier[kStages], v_barrier[kStages];

  // Where the copies of a stage arrive: keys (0) or values (1).
  __device__ __forceinline__ uint32_t arrival(uint32_t stage, int which) const {
    if constexpr (C::kExpands) {
      return shared_address(stored[stage].rows[which]);
    } else {
      return shared_address(which == 0 ? k[stage] : v[stage]);
    }
  }
};

// The rows of a block and the tiles that they see.
struct Work {
  uint32_t heads_per_kv, first_row, n_rows;  // of the block
  uint32_t position;                         // of the step's first token
  uint32_t begin, end;                       // tiles
  uint32_t step_end;                         // the position after the step's last

  __device__ __forceinline__ uint32_t token(uint32_t row) const { return (first_row + row) / heads_per_kv; }
};

__device__ __forceinline__ Work work_of(const PrefillAttentionParams& p) {
  Work w;
  w.heads_per_kv = p.n_heads / p.layout.n_kv_heads;
  const uint32_t all = p.n_tokens * w.heads_per_kv;
  w.first_row = (gridDim.x - 1 - blockIdx.x) * kRows;
  w.n_rows = min(kRows, all - w.first_row);
  w.position = static_cast<uint32_t>(*p.position);
  const uint32_t first = w.position + w.token(0), last = w.position + w.token(w.n_rows - 1);
  w.begin = (p.window != 0 && first + 1 > p.window ? first + 1 - p.window : 0) / kTile;
  w.end = last / kTile + 1;
  w.step_end = w.position + p.n_tokens;
  return w;
}

// By the first warp. The cache holds a multiple of kCacheGranule positions, so that the last tile may be short.
template <class C, int kHeadDim>
__device__ __forceinline__ void fetch_tile(const PrefillAttentionParams& p, Shared<C, kHeadDim>& s, uint32_t kv_head,
                                           uint32_t tile, uint32_t stage, uint32_t lane) {
  constexpr uint32_t kGranuleBytes = C::granule_bytes(kHeadDim);
  const uint32_t from = tile * kTile, n = min(kTile, p.layout.n_ctx - from);
  const uint64_t at = p.layout.granule(kv_head, from / kCacheGranule, kGranuleBytes);
  const uint32_t bytes = n / kCacheGranule * kGranuleBytes;
  copy_async(s.arrival(stage, 0), static_cast<const uint8_t*>(p.k_cache) + at, bytes,
             shared_address(&s.k_barrier[stage]), 0, lane);
  copy_async(s.arrival(stage, 1), static_cast<const uint8_t*>(p.v_cache) + at, bytes,
             shared_address(&s.v_barrier[stage]), 0, lane);
}

// A stage of an 8-bit cache into the one pair of tiles, by all warps; what lies behind the cache's end stays undefined.
template <class C, int kHeadDim>
__device__ __forceinline__ void expand_tile(Shared<C, kHeadDim>& s, uint32_t stage, uint32_t warp, uint32_t lane) {
  static_assert(kTile == kWarps * kCacheGranule);
  constexpr uint32_t kStored = C::granule_bytes(kHeadDim), kExpanded = kCacheGranule * kHeadDim * 2;
  expand_granule<C, kHeadDim>(s.arrival(stage, 0) + warp * kStored, shared_address(s.k[0]) + warp * kExpanded, lane);
  expand_granule<C, kHeadDim>(s.arrival(stage, 1) + warp * kStored, shared_address(s.v[0]) + warp * kExpanded, lane);
  __syncthreads();
}

template <class C, int kHeadDim>
__device__ __forceinline__ void load_queries(const PrefillAttentionParams& p, Shared<C, kHeadDim>& s, const Work& w,
                                             uint32_t kv_head) {
  using T = typename C::Value;
  constexpr uint32_t kChunks = kHeadDim / 8;
  for (uint32_t i = threadIdx.x; i < kRows * kChunks; i += blockDim.x) {
    const uint32_t row = i / kChunks, chunk = i % kChunks;
    uint4 v = make_uint4(0, 0, 0, 0);
    if (row < w.n_rows) {
      const uint32_t head = kv_head * w.heads_per_kv + (w.first_row + row) % w.heads_per_kv;
      const uint64_t at = (uint64_t{w.token(row)} * p.n_heads + head) * kHeadDim + 8 * chunk;
      v = *reinterpret_cast<const uint4*>(static_cast<const T*>(p.queries) + at);
    }
    *reinterpret_cast<uint4*>(&s.q[row][8 * chunk]) = v;
  }
}

template <class T, int kHeadDim>
struct WarpRows {
  static constexpr int kSteps = kHeadDim / 16, kOutTiles = kHeadDim / 8, kKeyTiles = kTile / 8;
  static constexpr uint32_t kRowBytes = kHeadDim * 2;

  float acc[kRowTiles][kOutTiles][4] = {};
  float top[kRowTiles][2], sum[kRowTiles][2];  // of rows g and g + 8; sums over the lane's own columns

  __device__ __forceinline__ WarpRows() {
#pragma unroll
    for (uint32_t m = 0; m < kRowTiles; ++m)
#pragma unroll
      for (int h = 0; h < 2; ++h) top[m][h] = kLowestScore, sum[m][h] = 0;
  }

  // queries, keys: shared addresses of the warp's first row and of the tile.
  __device__ __forceinline__ static void scores(uint32_t queries, uint32_t keys, uint32_t lane,
                                                float (&s)[kRowTiles][kKeyTiles][4]) {
#pragma unroll
    for (auto& m : s)
#pragma unroll
      for (auto& n : m)
#pragma unroll
        for (float& x : n) x = 0;
    const uint32_t query = queries + (lane % 16 * (kHeadDim + 8) + lane / 16 * 8) * 2;
    const uint32_t row = lane / 16 * 8 + lane % 8, chunk = lane / 8 % 2;
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
      uint32_t a[kRowTiles][4];
#pragma unroll
      for (uint32_t m = 0; m < kRowTiles; ++m) load_tiles(a[m], query + m * 16 * (kHeadDim + 8) * 2 + 32 * step);
#pragma unroll
      for (int n = 0; n < kKeyTiles; n += 2) {
        uint32_t b[4];
        load_tiles(b, keys + (8 * n + row) * kRowBytes + ((2 * step + chunk) ^ (row % 8)) * 16);
#pragma unroll
        for (uint32_t m = 0; m < kRowTiles; ++m) {
          multiply_add<T>(s[m][n], a[m], b[0], b[1]);
          multiply_add<T>(s[m][n + 1], a[m], b[2], b[3]);
        }
      }
    }
  }

  // Columns below `first` and from `end` on do not count for row 16 m + 8 h + g; both relative to the tile.
  __device__ __forceinline__ static void mask(float (&s)[kKeyTiles][4], int h, int first, int end, uint32_t lane) {
#pragma unroll
    for (int n = 0; n < kKeyTiles; ++n)
#pragma unroll
      for (int j = 0; j < 2; ++j) {
        const int column = 8 * n + static_cast<int>(lane % 4) * 2 + j;
        if (column < first || column >= end) s[n][2 * h + j] = -INFINITY;
      }
  }

  // Turns scores into weights and shrinks what was summed before.
  __device__ __forceinline__ void weigh(float (&s)[kKeyTiles][4], int m, int h) {
    float best = kLowestScore;
#pragma unroll
    for (int n = 0; n < kKeyTiles; ++n) best = fmaxf(best, fmaxf(s[n][2 * h], s[n][2 * h + 1]));
    best = fmaxf(best, __shfl_xor_sync(0xffffffffu, best, 1));
    best = fmaxf(best, __shfl_xor_sync(0xffffffffu, best, 2));
    const float new_top = fmaxf(top[m][h], best), shrink = exp2f(top[m][h] - new_top);
    top[m][h] = new_top;
    float total = sum[m][h] * shrink;
#pragma unroll
    for (int n = 0; n < kKeyTiles; ++n)
#pragma unroll
      for (int j = 0; j < 2; ++j) {
        s[n][2 * h + j] = exp2f(s[n][2 * h + j] - new_top);
        total += s[n][2 * h + j];
      }
    sum[m][h] = total;
#pragma unroll
    for (auto& tile : acc[m]) tile[2 * h] *= shrink, tile[2 * h + 1] *= shrink;
  }

  __device__ __forceinline__ void add(uint32_t values, const float (&s)[kRowTiles][kKeyTiles][4], uint32_t lane) {
    const uint32_t row = lane % 16, chunk = lane / 16;
#pragma unroll
    for (int step = 0; step < kKeyTiles / 2; ++step) {
      uint32_t a[kRowTiles][4];
#pragma unroll
      for (uint32_t m = 0; m < kRowTiles; ++m)
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const float* pair = &s[m][2 * step + i / 2][i % 2 * 2];
          const auto rounded = Half2<T>::round(pair[0], pair[1]);
          a[m][i] = *reinterpret_cast<const uint32_t*>(&rounded);
        }
#pragma unroll
      for (int tile = 0; tile < kOutTiles; tile += 2) {
        uint32_t b[4];
        load_tiles_transposed(b, values + (16 * step + row) * kRowBytes + ((tile + chunk) ^ (row % 8)) * 16);
#pragma unroll
        for (uint32_t m = 0; m < kRowTiles; ++m) {
          multiply_add<T>(acc[m][tile], a[m], b[0], b[1]);
          multiply_add<T>(acc[m][tile + 1], a[m], b[2], b[3]);
        }
      }
    }
  }
};

// The warp's rows into out.
template <class T, int kHeadDim, class Out>
__device__ __forceinline__ void store_rows(const PrefillAttentionParams& p, WarpRows<T, kHeadDim>& rows, const Work& w,
                                           uint32_t kv_head, Out* out) {
  const uint32_t warp = threadIdx.x / 32, lane = threadIdx.x % 32;
#pragma unroll
  for (uint32_t m = 0; m < kRowTiles; ++m)
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      float sum = rows.sum[m][h];
      sum += __shfl_xor_sync(0xffffffffu, sum, 1);
      sum += __shfl_xor_sync(0xffffffffu, sum, 2);
      const float scale = 1 / sum;
      const uint32_t row = warp * kWarpRows + 16 * m + 8 * h + lane / 4;
      if (row >= w.n_rows) continue;
      const uint32_t head = kv_head * w.heads_per_kv + (w.first_row + row) % w.heads_per_kv;
      Out* to = out + (uint64_t{w.token(row)} * p.n_heads + head) * kHeadDim + lane % 4 * 2;
#pragma unroll
      for (int tile = 0; tile < WarpRows<T, kHeadDim>::kOutTiles; ++tile)
        store_pair(to + 8 * tile, make_float2(rows.acc[m][tile][2 * h] * scale, rows.acc[m][tile][2 * h + 1] * scale));
    }
}

template <class C, int kHeadDim, class Out>
__global__ void __launch_bounds__(32 * kWarps) attention_kernel(const __grid_constant__ PrefillAttentionParams p) {
  using T = typename C::Value;
  extern __shared__ __align__(128) uint8_t memory[];
  auto& s = *reinterpret_cast<Shared<C, kHeadDim>*>(memory);
  trigger_dependents();
  const uint32_t warp = threadIdx.x / 32, lane = threadIdx.x % 32, kv_head = blockIdx.y;
  if (threadIdx.x == 0) {
    for (uint32_t i = 0; i < kStages; ++i) {
      init_copy_barrier(shared_address(&s.k_barrier[i]));
      init_copy_barrier(shared_address(&s.v_barrier[i]));
    }
    publish_barriers();
  }
  __syncthreads();
  wait_for_inputs();
  const Work w = work_of(p);
  if (warp == 0)
    for (uint32_t i = 0; i < kStages && w.begin + i < w.end; ++i) fetch_tile(p, s, kv_head, w.begin + i, i, lane);
  load_queries(p, s, w, kv_head);
  __syncthreads();

  WarpRows<T, kHeadDim> rows;
  const uint32_t warp_row = warp * kWarpRows;
  // Rows that pad the last block go with the last token.
  const auto position_of = [&](uint32_t row) { return w.position + w.token(min(row, w.n_rows - 1)); };
  const uint32_t least = position_of(warp_row), most = position_of(warp_row + kWarpRows - 1);
  for (uint32_t tile = w.begin; tile < w.end; ++tile) {
    const uint32_t stage = (tile - w.begin) % kStages, parity = (tile - w.begin) / kStages % 2, from = tile * kTile;
    while (!is_complete(shared_address(&s.k_barrier[stage]), parity)) {
    }
    if constexpr (C::kExpands) {
      while (!is_complete(shared_address(&s.v_barrier[stage]), parity)) {
      }
      expand_tile(s, stage, warp, lane);
      if (warp == 0 && tile + kStages < w.end) fetch_tile(p, s, kv_head, tile + kStages, stage, lane);
    }
    const uint32_t at = C::kExpands ? 0 : stage;
    float weights[kRowTiles][WarpRows<T, kHeadDim>::kKeyTiles][4];
    rows.scores(shared_address(s.q[warp_row]), shared_address(s.k[at]), lane, weights);
    const bool is_cut = from + kTile > least + 1 || (p.window != 0 && from + p.window < most + 1);
#pragma unroll
    for (uint32_t m = 0; m < kRowTiles; ++m)
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        if (is_cut) {
          const uint32_t position = position_of(warp_row + 16 * m + 8 * h + lane / 4);
          const uint32_t first = p.window != 0 && position + 1 > p.window ? position + 1 - p.window : 0;
          rows.mask(weights[m], h, static_cast<int>(first) - static_cast<int>(from),
                    static_cast<int>(position + 1) - static_cast<int>(from), lane);
        }
        rows.weigh(weights[m], static_cast<int>(m), h);
      }
    if constexpr (!C::kExpands) {  // else it was waited for, and is of the next use already
      while (!is_complete(shared_address(&s.v_barrier[stage]), parity)) {
      }
    }
    if (from + kTile > w.step_end) {  // nothing was ever written there, and zero times that may be NaN
      constexpr uint32_t kChunks = kHeadDim / 8;
      for (uint32_t i = (w.step_end - from) * kChunks + threadIdx.x; i < kTile * kChunks; i += blockDim.x)
        reinterpret_cast<uint4*>(s.v[at])[i] = make_uint4(0, 0, 0, 0);
      __syncthreads();
    }
    rows.add(shared_address(s.v[at]), weights, lane);
    __syncthreads();
    if (!C::kExpands && warp == 0 && tile + kStages < w.end) fetch_tile(p, s, kv_head, tile + kStages, stage, lane);
  }
  delay_stores();
  store_rows(p, rows, w, kv_head, static_cast<Out*>(p.out));
}

// f(C{}, head_dim as a constant) for a cache type and head size; false when there is no kernel.
template <class F>
bool visit_shape(DType type, uint64_t head_dim, F&& f) {
  if (head_dim != 64 && head_dim != 128) return false;
  return visit_stored_cache(type, [&](auto cache) {
    if (head_dim == 64) f(cache, std::integral_constant<int, 64>{});
    if (head_dim == 128) f(cache, std::integral_constant<int, 128>{});
  });
}

template <class C, int kHeadDim>
auto kernel_of(DType out_type) {
  return out_type == DType::kF32   ? &attention_kernel<C, kHeadDim, float>
         : out_type == DType::kF16 ? &attention_kernel<C, kHeadDim, __half>
                                   : &attention_kernel<C, kHeadDim, __nv_bfloat16>;
}

}  // namespace

bool prefill_attention_supports(DType cache_type, uint64_t head_dim) {
  return visit_shape(cache_type, head_dim, [](auto, auto) {});
}

void prepare_prefill_attention(const DeviceShape& device) {
  for (const DType type : {DType::kF16, DType::kBF16, DType::kF8_E4M3, DType::kQ8_0})
    for (const uint64_t head_dim : {64, 128})
      visit_shape(type, head_dim, [&](auto cache, auto dim) {
        for (const DType out : {DType::kF32, DType::kF16, DType::kBF16})
          prepare_kernel(kernel_of<decltype(cache), dim()>(out), device);
      });
}

void launch_prefill_attention(Queue& queue, DType cache_type, DType out_type, const PrefillAttentionParams& params) {
  const uint32_t n_kv = params.layout.n_kv_heads;
  const uint64_t tasks = uint64_t{params.n_tokens} * (params.n_heads + 2 * n_kv);
  const uint32_t rows = params.n_tokens * (params.n_heads / n_kv);
  visit_shape(cache_type, params.layout.head_dim, [&](auto cache, auto dim) {
    using C = decltype(cache);
    launch_kernel(queue, &prepare_kernel<C, dim()>, dim3(static_cast<uint32_t>((tasks + 7) / 8)), 256, 0, params);
    launch_kernel(queue, kernel_of<C, dim()>(out_type), dim3((rows + kRows - 1) / kRows, n_kv), 32 * kWarps,
                  static_cast<uint32_t>(sizeof(Shared<C, dim()>)), params);
  });
}

}  // namespace stretto::cuda
