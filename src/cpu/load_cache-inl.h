// Keys and values of one head of a cache (layout: cpu/kernels.h) as floats; included once per Highway target. T is the
// element as stored, or the format of an 8-bit cache.
#if defined(STRETTO_CPU_LOAD_CACHE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef STRETTO_CPU_LOAD_CACHE_INL_H_
#undef STRETTO_CPU_LOAD_CACHE_INL_H_
#else
#define STRETTO_CPU_LOAD_CACHE_INL_H_
#endif

#include "cpu/kernels.h"
#include "cpu/load_float-inl.h"
#include "formats/cache_formats.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace stretto::cpu {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using CacheFloats = hn::CappedTag<float, kCacheGroup>;
constexpr uint64_t kCacheLanes = hn::MaxLanes(CacheFloats());

// Where the element i of the keys of group g goes: out + g * group + i * element, sixteen floats.
struct KeyStrides {
  uint64_t group, element;
};

template <class T>
struct CacheReader {
  static void keys(const std::byte* head, uint64_t first_group, uint64_t n_groups, uint64_t head_dim, float* out,
                   KeyStrides to) {
    const CacheFloats d;
    const T* from = reinterpret_cast<const T*>(head) + first_group * head_dim * kCacheGroup;
    for (uint64_t g = 0; g < n_groups; ++g)
      for (uint64_t i = 0; i < head_dim; ++i, from += kCacheGroup)
        for (uint64_t v = 0; v < kCacheGroup; v += kCacheLanes)
          hn::StoreU(load_float(d, from + v), d, out + g * to.group + i * to.element + v);
  }
  static void values(const std::byte* head, uint64_t first, uint64_t n, uint64_t width, float* out) {
    const CacheFloats d;
    const T* from = reinterpret_cast<const T*>(head) + first * width;
    for (uint64_t i = 0; i < n * width; i += kCacheLanes) hn::StoreU(load_float(d, from + i), d, out + i);
  }
};

// The same value as F8_E4M3::decode.
template <class D>
HWY_INLINE hn::Vec<D> load_f8(D d, const std::byte* p) {
  const hn::RebindToSigned<D> di;
  const auto b = hn::PromoteTo(di, hn::LoadU(hn::Rebind<uint8_t, D>(), reinterpret_cast<const uint8_t*>(p)));
  const auto magnitude = hn::And(b, hn::Set(di, 0x7f));
  const auto sign = hn::ShiftLeft<24>(hn::And(b, hn::Set(di, 0x80)));
  const auto normal = hn::Add(hn::ShiftLeft<20>(magnitude), hn::Set(di, 120 << 23));
  const auto subnormal = hn::BitCast(di, hn::Mul(hn::ConvertTo(d, magnitude), hn::Set(d, 0x1p-9F)));
  auto bits = hn::IfThenElse(hn::Lt(magnitude, hn::Set(di, 8)), subnormal, normal);
  bits = hn::IfThenElse(hn::Eq(magnitude, hn::Set(di, 0x7f)), hn::Set(di, 0x7fc00000), bits);
  return hn::BitCast(d, hn::Or(bits, sign));
}

template <class D>
HWY_INLINE hn::Vec<D> load_i8(D d, const std::byte* p) {
  const hn::Rebind<int8_t, D> bytes;
  return hn::ConvertTo(d, hn::PromoteTo(hn::RebindToSigned<D>(), hn::LoadU(bytes, reinterpret_cast<const int8_t*>(p))));
}

template <>
struct CacheReader<F8_E4M3> {
  static void keys(const std::byte* head, uint64_t first_group, uint64_t n_groups, uint64_t head_dim, float* out,
                   KeyStrides to) {
    const CacheFloats d;
    const std::byte* from = head + first_group * head_dim * kCacheGroup;
    for (uint64_t g = 0; g < n_groups; ++g)
      for (uint64_t i = 0; i < head_dim; ++i, from += kCacheGroup)
        for (uint64_t v = 0; v < kCacheGroup; v += kCacheLanes)
          hn::StoreU(load_f8(d, from + v), d, out + g * to.group + i * to.element + v);
  }
  static void values(const std::byte* head, uint64_t first, uint64_t n, uint64_t width, float* out) {
    const CacheFloats d;
    const std::byte* from = head + first * width;
    for (uint64_t i = 0; i < n * width; i += kCacheLanes) hn::StoreU(load_f8(d, from + i), d, out + i);
  }
};

template <>
struct CacheReader<Q8_0> {
  static constexpr uint64_t kBlock = Q8_0::kBlockElements;

  static void keys(const std::byte* head, uint64_t first_group, uint64_t n_groups, uint64_t head_dim, float* out,
                   KeyStrides to) {
    const CacheFloats d;
    const uint64_t group_bytes = kCacheGroup * row_bytes(DType::kQ8_0, head_dim);
    for (uint64_t g = 0; g < n_groups; ++g) {
      const std::byte* from = head + (first_group + g) * group_bytes;
      const auto* scales = reinterpret_cast<const uint8_t*>(from + head_dim * kCacheGroup);
      for (uint64_t i = 0; i < head_dim; i += kBlock) {
        float scale[kCacheGroup];
        for (float& s : scale) s = load_f16(scales), scales += sizeof(uint16_t);
        for (uint64_t e = i; e < i + kBlock; ++e, from += kCacheGroup)
          for (uint64_t v = 0; v < kCacheGroup; v += kCacheLanes)
            hn::StoreU(hn::Mul(load_i8(d, from + v), hn::LoadU(d, scale + v)), d,
                       out + g * to.group + e * to.element + v);
      }
    }
  }
  static void values(const std::byte* head, uint64_t first, uint64_t n, uint64_t width, float* out) {
    const CacheFloats d;
    const uint64_t bytes = row_bytes(DType::kQ8_0, width);
    for (uint64_t j = 0; j < n; ++j) {
      const std::byte* from = head + (first + j) * bytes;
      const auto* scales = reinterpret_cast<const uint8_t*>(from + width);
      for (uint64_t i = 0; i < width; i += kBlock, scales += sizeof(uint16_t)) {
        const auto scale = hn::Set(d, load_f16(scales));
        for (uint64_t e = i; e < i + kBlock; e += kCacheLanes, out += kCacheLanes)
          hn::StoreU(hn::Mul(load_i8(d, from + e), scale), d, out);
      }
    }
  }
};

}  // namespace HWY_NAMESPACE
}  // namespace stretto::cpu
HWY_AFTER_NAMESPACE();

#endif  // include guard
