// Loads and stores of float vectors kept in memory as F32, F16 or BF16; included once per Highway target.
#if defined(STRETTO_CPU_LOAD_FLOAT_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef STRETTO_CPU_LOAD_FLOAT_INL_H_
#undef STRETTO_CPU_LOAD_FLOAT_INL_H_
#else
#define STRETTO_CPU_LOAD_FLOAT_INL_H_
#endif

#include <cstring>

#include "base/half.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace stretto::cpu {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

template <class D>
HWY_INLINE hn::Vec<D> load_float(D d, const float* p) {
  return hn::LoadU(d, p);
}

template <class D, class T>
HWY_INLINE hn::Vec<D> load_float(D d, const T* p) {
  return hn::PromoteTo(d, hn::LoadU(hn::Rebind<T, D>(), p));
}

// One element; `p` needs no alignment.
HWY_INLINE float load_one(const float* p) {
  float v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

HWY_INLINE float load_one(const hwy::float16_t* p) {
  uint16_t bits;
  std::memcpy(&bits, p, sizeof bits);
  return f16_to_f32(bits);
}

HWY_INLINE float load_one(const hwy::bfloat16_t* p) {
  uint16_t bits;
  std::memcpy(&bits, p, sizeof bits);
  return bf16_to_f32(bits);
}

}  // namespace HWY_NAMESPACE
}  // namespace stretto::cpu
HWY_AFTER_NAMESPACE();

#endif  // include guard
