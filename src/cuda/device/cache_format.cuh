// How the types of a KV cache are stored and read. A format is a trait struct:
//
//   Value                        the 16-bit type that the tensor cores read
//   kExpands                     stored in 8 bits: granules are expanded to Value before they are read
//   granule_bytes(head_dim)      of kCacheGranule positions of one head, stored
//   append_row(...)              a head's row as the cache has it, written where asked; `head` is the head's first byte
//   scale_of(...), expand(...)   four elements of a stored granule as Values (kExpands)
//
// F16 and BF16 lie in the cache as they are read (cuda/cache_layout.h). F8_E4M3 and Q8_0 have the rows of a granule one
// after the other, a byte per element; Q8_0 behind them one binary16 scale per row and 32 elements.
#pragma once

#include <cuda_fp8.h>

#include "cuda/cache_layout.h"
#include "cuda/device/async_copy.cuh"
#include "cuda/device/lane_head.cuh"
#include "cuda/device/store.cuh"

namespace stretto::cuda {

template <class T>
struct PlainCache {
  using Value = T;
  static constexpr bool kExpands = false;
  __host__ __device__ static constexpr uint32_t granule_bytes(uint32_t head_dim) {
    return kCacheGranule * head_dim * 2;
  }

  // Values are left as they are: whoever stores them as T rounds them alike.
  template <int kHeadDim>
  __device__ static void append_row(uint8_t* head, uint32_t position, LaneValues<kHeadDim>& y, bool writes,
                                    uint32_t lane) {
    T* const row = reinterpret_cast<T*>(head) + uint64_t{position} * kHeadDim;
#pragma unroll
    for (int i = 0; i < y.kPer; ++i)
      if (writes) store_as(row + CacheLayout::column(position, lane + 32 * i, kHeadDim, sizeof(T)), y.v[i]);
  }
};

struct F8Cache {
  using Value = __half;
  static constexpr bool kExpands = true;
  __host__ __device__ static constexpr uint32_t granule_bytes(uint32_t head_dim) { return kCacheGranule * head_dim; }

  __device__ static __nv_fp8_storage_t code(float v) { return __nv_cvt_float_to_fp8(v, __NV_SATFINITE, __NV_E4M3); }
  __device__ static float value(__nv_fp8_storage_t code) {
    return __half2float(__half(__nv_cvt_fp8_to_halfraw(code, __NV_E4M3)));
  }

  template <int kHeadDim>
  __device__ static void append_row(uint8_t* head, uint32_t position, LaneValues<kHeadDim>& y, bool writes,
                                    uint32_t lane) {
    uint8_t* const row = head + uint64_t{position} * kHeadDim;
#pragma unroll
    for (int i = 0; i < y.kPer; ++i) {
      const __nv_fp8_storage_t c = code(y.v[i]);
      if (writes) row[lane + 32 * i] = c;
      y.v[i] = value(c);
    }
  }

  struct Scale {};
  __device__ __forceinline__ static Scale scale_of(uint32_t, uint32_t, uint32_t, uint32_t) { return {}; }
  __device__ __forceinline__ static uint2 expand(uint32_t codes, Scale) {
    const __half2_raw low = __nv_cvt_fp8x2_to_halfraw2(static_cast<__nv_fp8x2_storage_t>(codes & 0xffff), __NV_E4M3);
    const __half2_raw high = __nv_cvt_fp8x2_to_halfraw2(static_cast<__nv_fp8x2_storage_t>(codes >> 16), __NV_E4M3);
    return {*reinterpret_cast<const uint32_t*>(&low), *reinterpret_cast<const uint32_t*>(&high)};
  }
};

struct Q8Cache {
  using Value = __half;
  static constexpr bool kExpands = true;
  __host__ __device__ static constexpr uint32_t granule_bytes(uint32_t head_dim) {
    return kCacheGranule * (head_dim + head_dim / 16);
  }

  // The rounding of formats/q8_0.h, of a block of 32 elements that the lanes of a warp hold.
  struct Code {
    __half scale;
    int8_t code;
    __device__ float value() const { return __half2float(scale) * static_cast<float>(code); }
  };
  __device__ static Code encode(float v) {
    const float d = warp_max(fabsf(v)) / 127.0F, inverse = d != 0 ? 1.0F / d : 0.0F;
    const float rounded = roundf(v * inverse);
    return {__float2half_rn(d), static_cast<int8_t>(rounded > -127 ? fminf(rounded, 127) : -127)};
  }
  // Where a block of 32 elements has its scale.
  __host__ __device__ static uint64_t scale_at(uint32_t position, uint32_t block, uint32_t head_dim) {
    const uint32_t row = position % kCacheGranule;
    return uint64_t{position / kCacheGranule} * granule_bytes(head_dim) + kCacheGranule * head_dim +
           (row * (head_dim / 32) + block) * 2;
  }
  __host__ __device__ static uint64_t code_at(uint32_t position, uint32_t d, uint32_t head_dim) {
    return uint64_t{position / kCacheGranule} * granule_bytes(head_dim) + position % kCacheGranule * head_dim + d;
  }
  // By a whole warp: element 32 block + lane of a row; returns its rounded value.
  __device__ static float append(uint8_t* head, uint32_t position, uint32_t block, uint32_t head_dim, float v,
                                 bool writes, uint32_t lane) {
    const Code c = encode(v);
    if (writes) head[code_at(position, 32 * block + lane, head_dim)] = static_cast<uint8_t>(c.code);
    if (writes && lane == 0) *reinterpret_cast<__half*>(head + scale_at(position, block, head_dim)) = c.scale;
    return c.value();
  }
  template <int kHeadDim>
  __device__ static void append_row(uint8_t* head, uint32_t position, LaneValues<kHeadDim>& y, bool writes,
                                    uint32_t lane) {
#pragma unroll
    for (int i = 0; i < y.kPer; ++i) y.v[i] = append(head, position, i, kHeadDim, y.v[i], writes, lane);
  }

  using Scale = __half2;
  __device__ __forceinline__ static Scale scale_of(uint32_t granule, uint32_t row, uint32_t d, uint32_t head_dim) {
    const uint16_t bits = load_shared_u16(granule + kCacheGranule * head_dim + (row * (head_dim / 32) + d / 32) * 2);
    return __half2half2(__ushort_as_half(bits));
  }
  // 1024 + 128 + code is a binary16 whose low byte is code + 128: exact up to the product with the scale.
  __device__ __forceinline__ static uint2 expand(uint32_t codes, Scale scale) {
    const uint32_t shifted = codes ^ 0x80808080U;
    uint32_t pairs[2] = {__byte_perm(shifted, 0x64646464U, 0x4140), __byte_perm(shifted, 0x64646464U, 0x4342)};
#pragma unroll
    for (uint32_t& pair : pairs) {
      const __half2 code = __hsub2(*reinterpret_cast<const __half2*>(&pair), __half2half2(__ushort_as_half(0x6480)));
      const __half2 value = __hmul2(code, scale);
      pair = *reinterpret_cast<const uint32_t*>(&value);
    }
    return {pairs[0], pairs[1]};
  }
};

// A granule by one warp, from shared memory as stored to shared memory as the tensor cores read it: rows of kHeadDim
// Values whose chunks are permuted like those of a 16-bit cache. Eight neighbouring lanes take four chunks of an even
// row and four of the next one, in long rows those of the other half: both reads and writes then meet every bank once.
template <class C, int kHeadDim>
__device__ __forceinline__ void expand_granule(uint32_t from, uint32_t to, uint32_t lane) {
  constexpr uint32_t kPerRow = kHeadDim / 16, kRowBytes = kHeadDim * 2;
  static_assert(kPerRow == 4 || kPerRow == 8);
#pragma unroll
  for (uint32_t i = 0; i < kPerRow / 2; ++i) {
    const uint32_t at = lane + 32 * i, row = kPerRow == 4 ? at / 4 : at / 16 * 2 + at / 4 % 2;
    const uint32_t chunk = at % 4 + (kPerRow == 4 ? 0 : (at / 4 + at / 8) % 2 * 4);
    const uint4 codes = load_shared(from + row * kHeadDim + 16 * chunk);
    const auto scale = C::scale_of(from, row, 16 * chunk, kHeadDim);
    const uint2 a = C::expand(codes.x, scale), b = C::expand(codes.y, scale), c = C::expand(codes.z, scale),
                d = C::expand(codes.w, scale);
    store_shared(to + row * kRowBytes + (2 * chunk ^ row % 8) * 16, {a.x, a.y, b.x, b.y});
    store_shared(to + row * kRowBytes + ((2 * chunk + 1) ^ row % 8) * 16, {c.x, c.y, d.x, d.y});
  }
}

// f(C{}) for the format of a cache type; false when the tensor-core kernels have none.
template <class F>
bool visit_stored_cache(DType type, F&& f) {
  switch (type) {
    case DType::kF16:
      f(PlainCache<__half>{});
      return true;
    case DType::kBF16:
      f(PlainCache<__nv_bfloat16>{});
      return true;
    case DType::kF8_E4M3:
      f(F8Cache{});
      return true;
    case DType::kQ8_0:
      f(Q8Cache{});
      return true;
    default:
      return false;
  }
}

}  // namespace stretto::cuda
