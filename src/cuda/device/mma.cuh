// Products of 16-bit and 8-bit tiles on the tensor cores, and float values split into sums of 16-bit parts.
//
// mma.m16n8k16, c[16][8] += a[16][16] b[16][8], in registers of a warp; g = lane / 4, i = lane % 4:
//   a[0]: row g, columns 2 i and 2 i + 1      a[1]: row g + 8      a[2]: row g, columns 8 further on      a[3]: both
//   b[0]: rows 2 i and 2 i + 1, column g      b[1]: rows 8 further on
//   c[0], c[1]: row g, columns 2 i and 2 i + 1      c[2], c[3]: row g + 8
// mma.m16n8k32 of signed bytes is laid out alike, four columns of a and four rows of b to a word:
//   a[0]: row g, columns 4 i .. 4 i + 3      a[2]: 16 columns further on      b[1]: 16 rows further on
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>

namespace stretto::cuda {

template <class T>
struct Half2;
template <>
struct Half2<__half> {
  using Type = __half2;
  __device__ static Type round(float a, float b) { return __floats2half2_rn(a, b); }
  __device__ static float2 values(Type v) { return __half22float2(v); }
};
template <>
struct Half2<__nv_bfloat16> {
  using Type = __nv_bfloat162;
  __device__ static Type round(float a, float b) { return __floats2bfloat162_rn(a, b); }
  __device__ static float2 values(Type v) { return __bfloat1622float2(v); }
};

// Parts that hold a float's 24 bits, or nearly: 2 x 11 of binary16, 3 x 8 of bfloat16.
template <class T>
inline constexpr int kSplitParts = std::is_same_v<T, __half> ? 2 : 3;

// (a, b) as a sum of pairs, largest first.
template <class T>
__device__ __forceinline__ void split_pair(float a, float b, uint32_t (&parts)[kSplitParts<T>]) {
#pragma unroll
  for (uint32_t& part : parts) {
    const auto rounded = Half2<T>::round(a, b);
    const float2 taken = Half2<T>::values(rounded);
    a -= taken.x;
    b -= taken.y;
    part = *reinterpret_cast<const uint32_t*>(&rounded);
  }
}

template <class T>
__device__ __forceinline__ void multiply_add(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  if constexpr (std::is_same_v<T, __half>) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  } else {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  }
}

__device__ __forceinline__ void multiply_add_bytes(int32_t (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// Four 8 x 8 tiles: lane l gives the shared address of row l % 8 of tile l / 8; r[j] of tile j holds row g, columns 2 i
// and 2 i + 1.
__device__ __forceinline__ void load_tiles(uint32_t (&r)[4], uint32_t address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(address)
               : "memory");
}
// The same, transposed: rows 2 i and 2 i + 1, column g.
__device__ __forceinline__ void load_tiles_transposed(uint32_t (&r)[4], uint32_t address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(address)
               : "memory");
}

}  // namespace stretto::cuda
