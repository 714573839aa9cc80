// How the blocks of a cluster hand vectors on: asynchronous stores into each other's shared memory, which complete on
// an mbarrier there, in the forms in which products read their inputs.
#pragma once

#include "cuda/clusters.h"
#include "cuda/device/async_copy.cuh"
#include "cuda/device/mma.cuh"
#include "cuda/device/numeric.cuh"
#include "cuda/device/quantize.cuh"
#include "cuda/device/store.cuh"
#include "cuda/device/stored_formats.cuh"
#include "cuda/device/stream_ring.cuh"

namespace stretto::cuda {

// What lies at an offset of shared memory; inputs, stages and all else are named by offsets.
template <class T>
__device__ __forceinline__ T& shared_at(uint32_t offset) {
  return *reinterpret_cast<T*>(shared + offset);
}

// All warps of the block but the feeder.
__device__ __forceinline__ void sync_warps() { asm volatile("bar.sync 1, %0;" ::"n"(kClusterThreads) : "memory"); }

__device__ __forceinline__ uint32_t cluster_rank() {
  uint32_t rank;
  asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return rank;
}
__device__ __forceinline__ uint32_t cluster_number() {
  uint32_t number;
  asm("mov.u32 %0, %%clusterid.x;" : "=r"(number));
  return number;
}
__device__ __forceinline__ void meet_cluster() {
  asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory");
  asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory");
}

// The address of an offset in the shared memory of the block of this rank.
__device__ __forceinline__ uint32_t at_rank(uint32_t offset, uint32_t rank) {
  uint32_t there;
  asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(there) : "r"(shared_address(shared) + offset), "r"(rank));
  return there;
}
__device__ __forceinline__ void push(uint32_t to, uint32_t barrier, uint32_t word) {
  asm volatile("st.async.shared::cluster.mbarrier::complete_tx::bytes.b32 [%0], %1, [%2];" ::"r"(to), "r"(word),
               "r"(barrier)
               : "memory");
}
__device__ __forceinline__ void push(uint32_t to, uint32_t barrier, float v) { push(to, barrier, __float_as_uint(v)); }
__device__ __forceinline__ void push_four(uint32_t to, uint32_t barrier, uint4 v) {
  asm volatile("st.async.shared::cluster.mbarrier::complete_tx::bytes.v4.b32 [%0], {%1, %2, %3, %4}, [%5];" ::"r"(to),
               "r"(v.x), "r"(v.y), "r"(v.z), "r"(v.w), "r"(barrier)
               : "memory");
}

// The words of four codes, which lanes 0, 4, 8, ... have.
__device__ __forceinline__ uint32_t join_codes(int8_t code) {
  uint32_t word = static_cast<uint8_t>(code);
  word |= __shfl_down_sync(0xffffffffu, word, 1) << 8;
  return word | __shfl_down_sync(0xffffffffu, word, 2) << 16;
}

// Sums over the lanes of a product's group: the thread's own row, and on the way a value over the warp, if wanted.
// `lanes` is 4 to 32.
template <bool kBoth>
__device__ __forceinline__ float sum_rows(const float (&sum)[4], uint32_t thread, uint32_t lanes, float& other) {
  const auto swap = [](float v, uint32_t mask) { return __shfl_xor_sync(0xffffffffu, v, mask); };
  const bool upper = (thread & (lanes / 2)) != 0, odd = (thread & (lanes / 4)) != 0;
  const float a = (upper ? sum[2] : sum[0]) + swap(upper ? sum[0] : sum[2], lanes / 2);
  const float b = (upper ? sum[3] : sum[1]) + swap(upper ? sum[1] : sum[3], lanes / 2);
  if (kBoth) other += swap(other, 16);
  float y = (odd ? b : a) + swap(odd ? a : b, lanes / 4);
  if (kBoth) other += swap(other, 8);
#pragma unroll
  for (uint32_t mask = 4; mask > 0; mask /= 2) {
    const float v = swap(y, mask);
    if (kBoth) other += swap(other, mask);
    y += 8 * mask <= lanes ? v : 0;
  }
  return y;
}

// Weights of 8 bits with a scale for 32, inputs likewise.
struct ClusterQ8_0 {
  static constexpr bool kInteger = true;
  static constexpr uint32_t kWarpBytes = PackedQ8_0::kUnitBytes;
  static constexpr uint32_t kRunBytes = 36;  // of 32 elements, pushed

  // An input of n columns: codes, then scales.
  struct Input {
    uint32_t codes, scales;
    __device__ __forceinline__ Input(uint32_t at, uint32_t n) : codes(at), scales(at + n) {}
  };
  // 32 elements, one a lane, which are number `run` of the input, to all ranks; `for_head`: of the head's input, whose
  // weights lie as for all kernels.
  __device__ __forceinline__ static void push_run(const Input& in, uint32_t run, float v, uint32_t barrier,
                                                  bool /*for_head*/) {
    const uint32_t lane = threadIdx.x % 32, rank = lane / 2, half = lane % 2;
    const BlockScale b = scale_of(__reduce_max_sync(0xffffffffu, magnitude(v)));
    const uint32_t word = join_codes(quantize(v, b.inverse));
    const auto from = [&](uint32_t i) { return __shfl_sync(0xffffffffu, word, 16 * half + 4 * i); };
    const uint4 words = make_uint4(from(0), from(1), from(2), from(3));
    const uint32_t there = at_rank(barrier, rank);
    push_four(at_rank(in.codes + 32 * run + 16 * half, rank), there, words);
    if (half == 0) push(at_rank(in.scales + 4 * run, rank), there, b.scale);
  }
  // The same into this block's own.
  __device__ __forceinline__ static void store_run(const Input& in, uint32_t run, float v) {
    const uint32_t lane = threadIdx.x % 32;
    const BlockScale b = scale_of(__reduce_max_sync(0xffffffffu, magnitude(v)));
    const uint32_t word = join_codes(quantize(v, b.inverse));
    if (lane % 4 == 0) shared_at<uint32_t>(in.codes + 32 * run + lane) = word;
    if (lane == 0) shared_at<float>(in.scales + 4 * run) = b.scale;
  }
  // What a lane has of a warp's step: a chunk of four rows.
  struct Chunk {
    uint4 rows[4];
    uint2 scales;

    __device__ __forceinline__ void load(uint32_t weights, uint32_t lane) {
#pragma unroll
      for (uint32_t r = 0; r < 4; ++r) rows[r] = shared_at<uint4>(weights + 512 * r + 16 * lane);
      scales = shared_at<uint2>(weights + 2048 + lane / 2 * 8);
    }
  };
  struct Sum {
    float rows[4] = {0, 0, 0, 0};

    // Adds the step times the input, of which the thread has chunk `chunk`.
    template <bool /*kHead*/ = false>
    __device__ __forceinline__ void add(const Chunk& w, const Input& in, uint32_t chunk, uint32_t /*thread*/,
                                        uint32_t /*lanes*/) {
      const uint4 x = shared_at<uint4>(in.codes + 16 * chunk);
      const float x_scale = shared_at<float>(in.scales + chunk / 2 * 4);
#pragma unroll
      for (uint32_t r = 0; r < 4; ++r) {
        const float scale = half_at((r < 2 ? w.scales.x : w.scales.y) >> 16 * (r % 2));
        rows[r] += x_scale * (scale * static_cast<float>(dot_codes(w.rows[r], x)));
      }
    }
    // The thread's row, and `other` summed over the warp, if wanted.
    template <bool kBoth>
    __device__ __forceinline__ float total(uint32_t thread, uint32_t lanes, float& other) const {
      return sum_rows<kBoth>(rows, thread, lanes, other);
    }
  };

 private:
  __device__ __forceinline__ static int32_t dot_codes(uint4 w, uint4 x) {
    const auto i = [](uint32_t v) { return static_cast<int32_t>(v); };
    return __dp4a(i(w.w), i(x.w), __dp4a(i(w.z), i(x.z), __dp4a(i(w.y), i(x.y), __dp4a(i(w.x), i(x.x), 0))));
  }
};

// Weights of 16 bits, on the tensor cores. An element of an input is the sum of two of 16 bits, a high and a low part:
// of bfloat16 the low part's own bits; of binary16 both are scaled, so that elements up to 1.6e7 are held to 4e-9 and
// larger ones become infinite.
//
// One instruction multiplies four rows with 64 columns: rows of `a` are a row of weights with 16 of the columns,
// columns of `b` the parts of 16 elements of the input, and of `c` counts what belongs to the same columns. These are
// eight pieces of eight columns, one after the other; slots 0 and 1 have elements 0, 1, 4 and 5 of four pieces each,
// slots 2 and 3 the others, so that a lane's 16 bytes of weights are `a` as they lie. Of the head a piece is four
// columns and four 128 further on, and the slots have the one or the other.
template <class T, class Packed>
struct ClusterFloat16 {
  static constexpr bool kInteger = false;
  static constexpr uint32_t kWarpBytes = Packed::kUnitBytes;
  static constexpr uint32_t kRunBytes = 128;

  // Of 64 columns slot by slot, of each the high parts and then the low ones.
  struct Input {
    uint32_t at;
    __device__ __forceinline__ Input(uint32_t at, uint32_t /*n*/) : at(at) {}
    __device__ __forceinline__ uint32_t place(uint32_t piece, uint32_t half, uint32_t part) const {
      return at + 256 * (piece / 8) + 128 * half + 64 * (piece % 8 / 4) + 32 * part + 8 * (piece % 4);
    }
    // Of parts of elements i and i + 1, i even.
    __device__ __forceinline__ uint32_t pair(uint32_t i, uint32_t part) const {
      return place(i / 8, i / 2 % 2, part) + i % 8 / 4 * 4;
    }
  };
  // Both parts of an element.
  __device__ __forceinline__ static uint32_t split(float v) {
    constexpr bool kScales = std::is_same_v<T, __half>;
    const float x = kScales ? v * 0x1p-8F : v;
    const T high = rounded(x), low = rounded((x - as_float(high)) * (kScales ? 0x1p11F : 1));
    return bits(high) | bits(low) << 16;
  }
  __device__ __forceinline__ static float join(float high, float low) {
    return std::is_same_v<T, __half> ? 0x1p8F * high + 0x1p-3F * low : high + low;
  }
  // From split() of two neighbouring elements, `mask` lanes apart: the high parts of both in the even one's lane, the
  // low ones in the other's.
  __device__ __forceinline__ static uint32_t pair_up(uint32_t word, uint32_t mask, bool is_odd) {
    const uint32_t other = __shfl_xor_sync(0xffffffffu, word, mask);
    return is_odd ? __byte_perm(other, word, 0x7632) : __byte_perm(word, other, 0x5410);
  }
  __device__ __forceinline__ static void push_run(const Input& in, uint32_t run, float v, uint32_t barrier,
                                                  bool for_head) {
    const uint32_t lane = threadIdx.x % 32, part = lane % 2, which = lane / 2 % 4;
    const uint32_t word = pair_up(split(v), 1, part != 0);
    // Four words are halves of two neighbouring pieces.
    const uint32_t first = for_head ? 8 * which : 16 * (which / 2) + 2 * (which % 2), step = for_head ? 2 : 4;
    const auto from = [&](uint32_t i) { return __shfl_sync(0xffffffffu, word, first + i * step + part); };
    const uint4 words = make_uint4(from(0), from(1), from(2), from(3));
    uint32_t to = in.pair(32 * run + first, part);
    if (for_head) to = in.place(run / 8 * 32 + run % 4 * 8 + 2 * which, run / 4 % 2, part);
#pragma unroll
    for (uint32_t i = 0; i < 4; ++i) {
      const uint32_t rank = lane / 8 + 4 * i;
      push_four(at_rank(to, rank), at_rank(barrier, rank), words);
    }
  }
  // What a lane has of a warp's step: of four instructions one row and one piece each.
  struct Chunk {
    uint4 part[4];

    __device__ __forceinline__ void load(uint32_t weights, uint32_t lane) {
#pragma unroll
      for (uint32_t m = 0; m < 4; ++m)
        part[m] = shared_at<uint4>(weights + 512 * (lane / 8) + 128 * m + 16 * (lane % 8));
    }
  };
  struct Sum {
    float c[2][4] = {};  // of a group each, or both of the same

    // `lanes` is 16 or 32.
    template <bool kHead = false>
    __device__ __forceinline__ void add(const Chunk& w, const Input& in, uint32_t chunk, uint32_t thread,
                                        uint32_t lanes) {
      const uint32_t from = in.at + 32 * (chunk & ~(lanes - 1)) + 8 * (thread % 32), second = 16 * (lanes & 32);
#pragma unroll
      for (uint32_t m = 0; m < 4; ++m) {
        const uint2 x = shared_at<uint2>(from + 256 * (m % 2) + m / 2 * second);
        const uint4& a = w.part[m];
        multiply_add<T>(c[m / 2], {a.x, kHead ? a.z : a.y, kHead ? a.y : a.z, a.w}, x.x, x.y);
      }
    }
    template <bool kBoth>
    __device__ __forceinline__ float total(uint32_t thread, uint32_t lanes, float& other) const {
      const uint32_t lane = thread % 32;
      if (kBoth) other = warp_sum(other);
      if (is_usual(lanes == 32))
        return eight_lanes(lane, c[0][0] + c[1][0], c[0][1] + c[1][1], c[0][2] + c[1][2], c[0][3] + c[1][3]);
      const auto of_row = [&](float v) { return __shfl_sync(0xffffffffu, v, 8 * (lane % 16 / 4)); };
      const float first = of_row(eight_lanes(lane, c[0][0], c[0][1], c[0][2], c[0][3])),
                  second = of_row(eight_lanes(lane, c[1][0], c[1][1], c[1][2], c[1][3]));
      return lane < 16 ? first : second;
    }
  };

 private:
  // The sum of a row, which eight lanes have, from their elements of `c`; half of these belong to other columns.
  __device__ __forceinline__ static float eight_lanes(uint32_t lane, float c0, float c1, float c2, float c3) {
    const bool is_first = (lane & 2) == 0, counts = (lane & 1) == (lane >> 2 & 1);
    float v = counts ? join(is_first ? c0 : c2, is_first ? c1 : c3) : 0;
#pragma unroll
    for (uint32_t mask = 4; mask > 0; mask /= 2) v += __shfl_xor_sync(0xffffffffu, v, mask);
    return v;
  }
  __device__ __forceinline__ static T rounded(float v) {
    T x;
    store_as(&x, v);
    return x;
  }
  __device__ __forceinline__ static uint32_t bits(T v) {
    uint16_t b;
    memcpy(&b, &v, sizeof b);
    return b;
  }
};
using ClusterF16 = ClusterFloat16<__half, PackedF16>;
using ClusterBF16 = ClusterFloat16<__nv_bfloat16, PackedBF16>;

}  // namespace stretto::cuda
