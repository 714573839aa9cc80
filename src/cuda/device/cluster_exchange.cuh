// How the blocks of a cluster hand vectors on: asynchronous stores into each other's shared memory, which complete on
// an mbarrier there, in the forms in which products read their inputs.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "cuda/clusters.h"
#include "cuda/device/async_copy.cuh"
#include "cuda/device/quantize.cuh"
#include "cuda/device/stored_formats.cuh"
#include "cuda/device/stream_ring.cuh"

namespace stretto::cuda {

// What lies at an offset of shared memory; inputs, stages and all else are named by offsets.
template <class T>
__device__ __forceinline__ T& shared_at(uint32_t offset) {
  return *reinterpret_cast<T*>(shared + offset);
}

// The thread's number, for once: what the compiler can find out again it does not keep.
__device__ __forceinline__ uint32_t own_thread() {
  uint32_t thread;
  asm volatile("mov.u32 %0, %%tid.x;" : "=r"(thread));
  return thread;
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
__device__ __forceinline__ void expect_bytes(uint32_t barrier, uint32_t bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes) : "memory");
}
__device__ __forceinline__ void push(uint32_t to, uint32_t barrier, float v) {
  asm volatile("st.async.shared::cluster.mbarrier::complete_tx::bytes.b32 [%0], %1, [%2];" ::"r"(to),
               "r"(__float_as_uint(v)), "r"(barrier)
               : "memory");
}
__device__ __forceinline__ void push_four(uint32_t to, uint32_t barrier, uint4 v) {
  asm volatile("st.async.shared::cluster.mbarrier::complete_tx::bytes.v4.b32 [%0], {%1, %2, %3, %4}, [%5];" ::"r"(to),
               "r"(v.x), "r"(v.y), "r"(v.z), "r"(v.w), "r"(barrier)
               : "memory");
}

// The words that lanes first, first + step, ... have, four of them.
__device__ __forceinline__ uint4 gather_four(uint32_t word, uint32_t first, uint32_t step) {
  return make_uint4(__shfl_sync(0xffffffffu, word, first), __shfl_sync(0xffffffffu, word, first + step),
                    __shfl_sync(0xffffffffu, word, first + 2 * step), __shfl_sync(0xffffffffu, word, first + 3 * step));
}

// The words of four codes, which lanes 0, 4, 8, ... have.
__device__ __forceinline__ uint32_t join_codes(int8_t code) {
  uint32_t word = static_cast<uint8_t>(code);
  word |= __shfl_down_sync(0xffffffffu, word, 1) << 8;
  return word | __shfl_down_sync(0xffffffffu, word, 2) << 16;
}

// Weights of 8 bits with a scale for 32, inputs likewise.
struct ClusterQ8_0 {
  using Packed = PackedQ8_0;
  static constexpr bool kInteger = true;
  static constexpr uint32_t kChunk = 16, kWarpBytes = 2176;
  static constexpr uint32_t kRunBytes = 36;  // of 32 elements, pushed

  // An input of n columns: codes, then scales.
  struct Input {
    uint32_t codes, scales;
    __device__ __forceinline__ Input(uint32_t at, uint32_t n) : codes(at), scales(at + n) {}
  };
  // 32 elements, one a lane, which are number `run` of the input, to all ranks.
  __device__ __forceinline__ static void push_run(const Input& in, uint32_t run, float v, uint32_t barrier) {
    const uint32_t lane = threadIdx.x % 32, rank = lane / 2, half = lane % 2;
    const BlockScale b = scale_of(__reduce_max_sync(0xffffffffu, magnitude(v)));
    const uint4 words = gather_four(join_codes(quantize(v, b.inverse)), 16 * half, 4);
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
  // A lane's chunk of four rows.
  struct Chunk {
    uint4 rows[4];
    uint2 scales;

    __device__ __forceinline__ void load(uint32_t weights, uint32_t lane) {
#pragma unroll
      for (uint32_t r = 0; r < 4; ++r) rows[r] = shared_at<uint4>(weights + 512 * r + 16 * lane);
      scales = shared_at<uint2>(weights + 2048 + lane / 2 * 8);
    }
    // Adds the rows times chunk `chunk` of the input.
    __device__ __forceinline__ void add_to(float (&sum)[4], const Input& in, uint32_t chunk) const {
      const uint4 x = shared_at<uint4>(in.codes + 16 * chunk);
      const float x_scale = shared_at<float>(in.scales + chunk / 2 * 4);
#pragma unroll
      for (uint32_t r = 0; r < 4; ++r) {
        const float scale = half_at((r < 2 ? scales.x : scales.y) >> 16 * (r % 2));
        sum[r] += x_scale * (scale * static_cast<float>(dot_codes(rows[r], x)));
      }
    }
  };
  // The same of packed unit number u of a group.
  __device__ __forceinline__ static void add_unit(float (&sum)[4], uint32_t unit, uint32_t lane, const Input& in,
                                                  uint32_t u) {
    Chunk c;
    c.load(unit, lane);
    c.add_to(sum, in, 32 * u + lane);
  }

 private:
  __device__ __forceinline__ static int32_t dot_codes(uint4 w, uint4 x) {
    const auto i = [](uint32_t v) { return static_cast<int32_t>(v); };
    return __dp4a(i(w.w), i(x.w), __dp4a(i(w.z), i(x.z), __dp4a(i(w.y), i(x.y), __dp4a(i(w.x), i(x.x), 0))));
  }
};

// Weights of 16 bits, inputs as floats: of every eight the first four, then the others of all eights, so that
// neighbouring lanes read neighbouring words.
template <class Format, class Convert>
struct ClusterFloat16 {
  using Packed = Format;
  static constexpr bool kInteger = false;
  static constexpr uint32_t kChunk = 8, kWarpBytes = 2048;
  static constexpr uint32_t kRunBytes = 128;

  struct Input {
    uint32_t low, high;
    __device__ __forceinline__ Input(uint32_t at, uint32_t n) : low(at), high(at + 2 * n + 64) {}
    // Of elements 4 i .. 4 i + 3.
    __device__ __forceinline__ uint32_t four(uint32_t i) const { return (i % 2 == 0 ? low : high) + 16 * (i / 2); }
    __device__ __forceinline__ uint32_t element(uint32_t i) const { return four(i / 4) + 4 * (i % 4); }
  };
  __device__ __forceinline__ static void push_run(const Input& in, uint32_t run, float v, uint32_t barrier) {
    const uint32_t lane = threadIdx.x % 32, four = lane % 8;
    const uint4 words = gather_four(__float_as_uint(v), 4 * four, 1);
    const uint32_t to = in.four(8 * run + four);
#pragma unroll
    for (uint32_t i = 0; i < 4; ++i) {
      const uint32_t rank = lane / 8 + 4 * i;
      push_four(at_rank(to, rank), at_rank(barrier, rank), words);
    }
  }
  struct Chunk {
    uint4 rows[4];

    __device__ __forceinline__ void load(uint32_t weights, uint32_t lane) {
#pragma unroll
      for (uint32_t r = 0; r < 4; ++r) rows[r] = shared_at<uint4>(weights + 512 * r + 16 * lane);
    }
    __device__ __forceinline__ void add_to(float (&sum)[4], const Input& in, uint32_t chunk) const {
      add_eight(sum, in.low + 16 * chunk, in.high + 16 * chunk);
    }
    __device__ __forceinline__ void add_eight(float (&sum)[4], uint32_t low, uint32_t high) const {
      const float4 a = shared_at<float4>(low), b = shared_at<float4>(high);
#pragma unroll
      for (uint32_t r = 0; r < 4; ++r) {
        const uint4 w = rows[r];
        const float first =
            Convert::low(w.x) * a.x + Convert::high(w.x) * a.y + (Convert::low(w.y) * a.z + Convert::high(w.y) * a.w);
        const float second =
            Convert::low(w.z) * b.x + Convert::high(w.z) * b.y + (Convert::low(w.w) * b.z + Convert::high(w.w) * b.w);
        sum[r] += first + second;
      }
    }
  };
  __device__ __forceinline__ static void add_unit(float (&sum)[4], uint32_t unit, uint32_t lane, const Input& in,
                                                  uint32_t u) {
    Chunk c;
    c.load(unit, lane);
    c.add_eight(sum, in.four(64 * u + lane), in.four(64 * u + 32 + lane));
  }
};
using ClusterF16 = ClusterFloat16<PackedF16, ConvertF16>;
using ClusterBF16 = ClusterFloat16<PackedBF16, ConvertBF16>;

}  // namespace stretto::cuda
