// How a KV cache lies in device memory: [n_kv_heads, n_ctx, head_dim], so that the positions of one head are one
// contiguous run, with the chunks of 16 bytes of a row permuted so that eight rows copied as they are into shared
// memory have the same chunk in eight different banks (what matrix instructions read at a time). Rows of 8-bit elements
// are not permuted: they are expanded before matrix instructions read them (device/cache_format.cuh).
#pragma once

#include <cstdint>

#ifdef __CUDACC__
#define STRETTO_LAYOUT_HD __host__ __device__ __forceinline__
#else
#define STRETTO_LAYOUT_HD inline
#endif

namespace stretto::cuda {

// Positions that one copy brings; caches hold a multiple of it.
inline constexpr uint32_t kCacheGranule = 16;

inline uint32_t cache_positions(uint64_t n_ctx) {
  return static_cast<uint32_t>((n_ctx + kCacheGranule - 1) / kCacheGranule * kCacheGranule);
}

struct CacheLayout {
  uint32_t n_kv_heads = 0, n_ctx = 0, head_dim = 0;

  // Rows whose chunks come in eights are permuted.
  static STRETTO_LAYOUT_HD bool permutes(uint32_t head_dim, uint32_t element_bytes) {
    return element_bytes > 1 && head_dim * element_bytes % 128 == 0;
  }
  // Dimension d of a row at `position`, in elements from the begin of the row.
  static STRETTO_LAYOUT_HD uint32_t column(uint32_t position, uint32_t d, uint32_t head_dim, uint32_t element_bytes) {
    if (!permutes(head_dim, element_bytes)) return d;
    const uint32_t per_chunk = 16 / element_bytes;
    return ((d / per_chunk) ^ (position % 8)) * per_chunk + d % per_chunk;
  }
  STRETTO_LAYOUT_HD uint64_t row(uint32_t kv_head, uint32_t position) const {
    return (uint64_t{kv_head} * n_ctx + position) * head_dim;
  }
  // The byte at which a granule of a head begins, for granules of so many bytes.
  STRETTO_LAYOUT_HD uint64_t granule(uint32_t kv_head, uint32_t granule, uint32_t granule_bytes) const {
    return (uint64_t{kv_head} * (n_ctx / kCacheGranule) + granule) * granule_bytes;
  }
  STRETTO_LAYOUT_HD uint64_t at(uint32_t kv_head, uint32_t position, uint32_t d, uint32_t element_bytes) const {
    return row(kv_head, position) + column(position, d, head_dim, element_bytes);
  }
};

}  // namespace stretto::cuda
