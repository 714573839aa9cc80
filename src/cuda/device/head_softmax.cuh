// Online softmax of one warp over granules of the cache, for up to eight query heads that share a key/value head, on
// the tensor cores without losing a float's precision: the sixteen rows of a tile are the eight heads twice, once with
// the high part of the float operand (query, then softmax weight) and once with the low part; keys and values are used
// as stored. The third part of bfloat16 is a product of its own.
#pragma once

#include "cuda/cache_layout.h"
#include "cuda/device/async_copy.cuh"
#include "cuda/device/mma.cuh"

namespace stretto::cuda {

constexpr uint32_t kHeadsPerBlock = 8;
constexpr float kLowestScore = -1e30F;  // finite, so that differences are never NaN

// Parts of the queries in shared memory: rows 0 .. 7 the first part of the heads, 8 .. 15 the second, 16 .. 23 the
// third.
template <class T, int kHeadDim>
struct QueryTiles {
  static constexpr int kRows = 8 * kSplitParts<T>;
  static constexpr int kStride = kHeadDim + 8;  // rows in different banks
  T rows[kRows][kStride];

  // Dimension d of `head`, a float.
  __device__ __forceinline__ void store(uint32_t head, uint32_t d, float v) {
    uint32_t parts[kSplitParts<T>];
    split_pair<T>(v, 0, parts);
#pragma unroll
    for (int i = 0; i < kSplitParts<T>; ++i) {
      const auto low = static_cast<uint16_t>(parts[i]);
      rows[8 * i + head][d] = *reinterpret_cast<const T*>(&low);
    }
  }
};

template <class T, int kHeadDim>
struct HeadSoftmax {
  static constexpr int kSteps = kHeadDim / 16, kTiles = kHeadDim / 8;
  static constexpr uint32_t kRowBytes = kHeadDim * 2;
  static constexpr bool kThird = kSplitParts<T> == 3;

  float acc[kTiles][4] = {};          // c layout of device/mma.cuh: head g, and its low part
  float top = kLowestScore, sum = 0;  // of head g; `sum` over the lane's own positions only
  float unscale;                      // of head g's queries
  bool is_used;                       // there is a head g

  // a with the third part in its upper rows and nothing below.
  __device__ __forceinline__ static void multiply_third(float (&c)[4], uint32_t a0, uint32_t a2, uint32_t b0,
                                                        uint32_t b1) {
    const uint32_t a[4] = {a0, 0, a2, 0};
    multiply_add<T>(c, a, b0, b1);
  }

  // Scores of the granule's positions 2 i, 2 i + 1, 8 + 2 i and 9 + 2 i for head g. `row` is where the key of position
  // key_of(lane) lies. The queries are read anew each time: registers are what decides how many kernels share an SM.
  __device__ __forceinline__ static uint32_t key_of(uint32_t lane) { return lane / 16 * 8 + lane % 8; }
  __device__ __forceinline__ void scores_of(const QueryTiles<T, kHeadDim>& queries, uint32_t row, uint32_t lane,
                                            float (&s)[4]) const {
    float c[2][4] = {};
    // Tiles: positions 0 .. 7, dimensions 0 .. 7 and 8 .. 15 of the step; then positions 8 .. 15.
    const uint32_t chunk = lane / 8 % 2;
    // In the order of a: rows 0 .. 7 and 8 .. 15 of eight columns, then of the next eight.
    const uint32_t query = shared_address(&queries.rows[lane % 16][lane / 16 * 8]);
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
      uint32_t a[4], b[4];
      load_tiles(a, query + 32 * step);
      load_tiles(b, row + ((2 * step + chunk) ^ (lane % 8)) * 16);
#pragma unroll
      for (int tile = 0; tile < 2; ++tile) {
        multiply_add<T>(c[tile], a, b[2 * tile], b[2 * tile + 1]);
        if constexpr (kThird) {
          const T* third = &queries.rows[16 + lane / 4][16 * step + lane % 4 * 2];
          multiply_third(c[tile], *reinterpret_cast<const uint32_t*>(third),
                         *reinterpret_cast<const uint32_t*>(third + 8), b[2 * tile], b[2 * tile + 1]);
        }
      }
    }
#pragma unroll
    for (int tile = 0; tile < 2; ++tile) {
      s[2 * tile] = is_used ? (c[tile][0] + c[tile][2]) * unscale : 0;
      s[2 * tile + 1] = is_used ? (c[tile][1] + c[tile][3]) * unscale : 0;
    }
  }

  __device__ __forceinline__ void scores(const QueryTiles<T, kHeadDim>& queries, uint32_t keys, uint32_t lane,
                                         float (&s)[4]) const {
    scores_of(queries, keys + key_of(lane) * kRowBytes, lane, s);
  }

  // Positions that count, of eight that follow each other: from `first` to below `end`.
  struct Visible {
    int first, end;
  };
  // Turns scores into weights.
  __device__ __forceinline__ void weigh(float (&s)[4], const Visible (&visible)[2], uint32_t lane) {
    float best = kLowestScore;
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const int position = static_cast<int>(lane % 4) * 2 + j % 2;
      if (position < visible[j / 2].first || position >= visible[j / 2].end) s[j] = -INFINITY;
      best = fmaxf(best, s[j]);
    }
    best = fmaxf(best, __shfl_xor_sync(0xffffffffu, best, 1));
    best = fmaxf(best, __shfl_xor_sync(0xffffffffu, best, 2));
    const float new_top = fmaxf(top, best), shrink = exp2f(top - new_top);
    top = new_top;
    sum *= shrink;
#pragma unroll
    for (float& x : s) {
      x = exp2f(x - top);
      sum += x;
    }
    if (__any_sync(0xffffffffu, shrink != 1)) {
#pragma unroll
      for (auto& tile : acc)
#pragma unroll
        for (float& x : tile) x *= shrink;
    }
  }

  // The same where sixteen positions follow each other.
  __device__ __forceinline__ void weigh(float (&s)[4], int first, int end, uint32_t lane) {
    weigh(s, {{first, end}, {first - 8, end - 8}}, lane);
  }

  // Adds the granule's values with the weights of weigh(); `row` is where that of position value_of(lane) lies.
  __device__ __forceinline__ static uint32_t value_of(uint32_t lane) { return lane % 16; }
  __device__ __forceinline__ void add_of(uint32_t row, const float (&s)[4], uint32_t lane) {
    uint32_t low[kSplitParts<T>], high[kSplitParts<T>];
    split_pair<T>(s[0], s[1], low);
    split_pair<T>(s[2], s[3], high);
    const uint32_t a[4] = {low[0], low[1], high[0], high[1]};
    // Tiles: positions 0 .. 7 and 8 .. 15 of eight dimensions, then of the next eight.
    const uint32_t chunk = lane / 16;
#pragma unroll
    for (int tile = 0; tile < kTiles; tile += 2) {
      uint32_t b[4];
      load_tiles_transposed(b, row + ((tile + chunk) ^ (lane % 8)) * 16);
      multiply_add<T>(acc[tile], a, b[0], b[1]);
      multiply_add<T>(acc[tile + 1], a, b[2], b[3]);
      if constexpr (kThird) {
        multiply_third(acc[tile], low[2], high[2], b[0], b[1]);
        multiply_third(acc[tile + 1], low[2], high[2], b[2], b[3]);
      }
    }
  }

  __device__ __forceinline__ void add(uint32_t values, const float (&s)[4], uint32_t lane) {
    add_of(values + value_of(lane) * kRowBytes, s, lane);
  }

  // tops and sums [heads].
  __device__ __forceinline__ void store_counts(float* tops, float* sums, uint32_t n_heads, uint32_t lane) {
    sum += __shfl_xor_sync(0xffffffffu, sum, 1);
    sum += __shfl_xor_sync(0xffffffffu, sum, 2);
    const uint32_t head = lane / 4;
    if (head < n_heads && lane % 4 == 0) {
      tops[head] = top;
      sums[head] = sum;
    }
  }
  // The warp's result, not yet divided by the sum: out [heads][kHeadDim], tops and sums [heads].
  __device__ __forceinline__ void store(float* out, float* tops, float* sums, uint32_t n_heads, uint32_t lane) {
    store_counts(tops, sums, n_heads, lane);
    store_values<false>(out, 1, n_heads, lane);
  }
  // Its values alone, times a factor; with kAdds to what lies there.
  template <bool kAdds>
  __device__ __forceinline__ void store_values(float* out, float factor, uint32_t n_heads, uint32_t lane) const {
    const uint32_t head = lane / 4;
    if (head >= n_heads) return;
    constexpr int kAtOnce = kAdds ? kTiles / 2 : kTiles;  // loads before their stores
    auto* const to = reinterpret_cast<float2*>(out + head * kHeadDim + lane % 4 * 2);
#pragma unroll
    for (int first = 0; first < kTiles; first += kAtOnce) {
      float2 before[kAtOnce] = {};
#pragma unroll
      for (int i = 0; i < kAtOnce; ++i)
        if constexpr (kAdds) before[i] = to[4 * (first + i)];
#pragma unroll
      for (int i = 0; i < kAtOnce; ++i) {
        const auto& tile = acc[first + i];
        to[4 * (first + i)] =
            make_float2(before[i].x + (tile[0] + tile[2]) * factor, before[i].y + (tile[1] + tile[3]) * factor);
      }
    }
  }
};

}  // namespace stretto::cuda
