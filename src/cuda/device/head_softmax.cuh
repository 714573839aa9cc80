// Online softmax of one warp over cache positions, for up to four query heads that share a key/value head.
//
// kLanes = head_dim / 8 neighbouring lanes hold one position, eight dimensions each; 32 / kLanes positions lie side by
// side, kUnroll of them follow each other. Every lane owns the scores of one head: the 4 * kUnroll sums over the lanes
// of a position are reduced and scattered in one butterfly, value (lane % kLanes) * kOwn + i to a lane.
#pragma once

#include "cuda/device/cache_rows.cuh"

namespace stretto::cuda {

constexpr int kHeadsPerBlock = 4;

template <class T, int kHeadDim>
struct HeadSoftmax {
  static constexpr int kUnroll = 4;
  static constexpr int kLanes = kHeadDim / 8;
  static constexpr int kSide = 32 / kLanes;                       // positions side by side
  static constexpr int kPositions = kSide * kUnroll;              // of one call of add()
  static constexpr int kOwn = kHeadsPerBlock * kUnroll / kLanes;  // scores of a lane
  static constexpr int kHeadLanes = kLanes / kHeadsPerBlock;      // lanes that own scores of one head
  static constexpr float kLowest = -1e30F;                        // finite, so that differences are never NaN

  float q[kHeadsPerBlock][8];
  float acc[kHeadsPerBlock][8] = {};
  float top = kLowest, sum = 0;  // of the lane's own head; `sum` over the lane's own scores only

  __device__ __forceinline__ static float from_head(float v, int head) {
    return __shfl_sync(0xffffffffu, v, head * kHeadLanes, kLanes);
  }

  // The largest of the values that the lanes of one head own.
  __device__ __forceinline__ static float head_max(float v) {
#pragma unroll
    for (int mask = kHeadLanes / 2; mask > 0; mask /= 2) v = fmaxf(v, __shfl_xor_sync(0xffffffffu, v, mask));
    return v;
  }
  __device__ __forceinline__ static float head_sum(float v) {
#pragma unroll
    for (int mask = kHeadLanes / 2; mask > 0; mask /= 2) v += __shfl_xor_sync(0xffffffffu, v, mask);
    return v;
  }

  // Sums s over the kLanes lanes of a position; the lane's own kOwn results end up in front.
  __device__ __forceinline__ static void reduce_scatter(float (&s)[kHeadsPerBlock * kUnroll], uint32_t lane) {
    int n = kHeadsPerBlock * kUnroll;
#pragma unroll
    for (int mask = kLanes / 2; mask > 0; mask /= 2) {
      n /= 2;
      const bool upper = (lane & mask) != 0;
#pragma unroll
      for (int i = 0; i < kHeadsPerBlock * kUnroll / 2; ++i) {
        if (i >= n) break;
        const float send = upper ? s[i] : s[i + n], keep = upper ? s[i + n] : s[i];
        s[i] = keep + __shfl_xor_sync(0xffffffffu, send, mask);
      }
    }
  }

  // Positions j * kSide + lane / kLanes, j < kUnroll, of which the first n_valid count. after_scores() runs when k is
  // no longer needed, so that the next keys can be on their way during the rest.
  template <class F>
  __device__ __forceinline__ void add(const CacheRow8<T> (&k)[kUnroll], const CacheRow8<T> (&v)[kUnroll], int n_valid,
                                      uint32_t lane, const F& after_scores) {
    float s[kHeadsPerBlock * kUnroll];
#pragma unroll
    for (int j = 0; j < kUnroll; ++j) {
      float row[8];
      k[j].get(row);
#pragma unroll
      for (int h = 0; h < kHeadsPerBlock; ++h) {
        float dot = 0;
#pragma unroll
        for (int i = 0; i < 8; ++i) dot += q[h][i] * row[i];
        s[h * kUnroll + j] = dot;
      }
    }
    after_scores();
    reduce_scatter(s, lane);
    float best = kLowest;
#pragma unroll
    for (int i = 0; i < kOwn; ++i) {
      const int j = static_cast<int>(lane % kLanes * kOwn + i) % kUnroll;
      if (j * kSide + static_cast<int>(lane / kLanes) >= n_valid) s[i] = -INFINITY;
      best = fmaxf(best, s[i]);
    }
    const float new_top = fmaxf(top, head_max(best)), shrink = exp2f(top - new_top);
    top = new_top;
    sum *= shrink;
#pragma unroll
    for (int i = 0; i < kOwn; ++i) {
      s[i] = exp2f(s[i] - top);
      sum += s[i];
    }
    scale(shrink);
#pragma unroll
    for (int j = 0; j < kUnroll; ++j) {
      float row[8];
      v[j].get(row);
#pragma unroll
      for (int h = 0; h < kHeadsPerBlock; ++h) {
        constexpr int kPer = kOwn;
        const int value = h * kUnroll + j;
        const float p = __shfl_sync(0xffffffffu, s[value % kPer], value / kPer, kLanes);
#pragma unroll
        for (int i = 0; i < 8; ++i) acc[h][i] += p * row[i];
      }
    }
  }

  // Multiplies each head's result with the factor that its owners hold.
  __device__ __forceinline__ void scale(float factor) {
#pragma unroll
    for (int h = 0; h < kHeadsPerBlock; ++h) {
      const float f = from_head(factor, h);
#pragma unroll
      for (int i = 0; i < 8; ++i) acc[h][i] *= f;
    }
  }

  // Joins the positions that lay side by side: afterwards lanes 0 .. kLanes - 1 hold the warp's result, with the whole
  // sum of each head in its owners.
  __device__ __forceinline__ void join() {
    sum = head_sum(sum);
#pragma unroll
    for (int mask = kLanes; mask < 32; mask *= 2) {
      const float other_top = __shfl_xor_sync(0xffffffffu, top, mask);
      const float new_top = fmaxf(top, other_top);
      const float shrink = exp2f(top - new_top);
      scale(shrink);
      sum *= shrink;
      top = new_top;
      sum += __shfl_xor_sync(0xffffffffu, sum, mask);
#pragma unroll
      for (int h = 0; h < kHeadsPerBlock; ++h)
#pragma unroll
        for (int i = 0; i < 8; ++i) acc[h][i] += __shfl_xor_sync(0xffffffffu, acc[h][i], mask);
    }
  }
};

}  // namespace stretto::cuda
