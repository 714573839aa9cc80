// Packed weights (cpu/packed.h) times 8-bit activations on x86: with AVX-512 VNNI and with AVX2.
#include <cstring>

#include "cpu/packed.h"
#include "formats/formats.h"

#if HWY_ARCH_X86

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // the undefined operands in GCC 12's header (GCC bug 105593)
#endif
#include <immintrin.h>

namespace stretto::cpu::packed_vnni {
HWY_PUSH_ATTRIBUTES("avx,avx2,fma,f16c,bmi,bmi2,avx512f,avx512vl,avx512bw,avx512dq,avx512vnni");

using Ints = __m512i;
using Floats = __m512;
// Q8_0 by two groups of rows times six vectors: 24 sums in 32 registers, and every activation is loaded for both.
constexpr bool kPairs = true;
constexpr bool kScalesInRegisters = true;
// How far ahead of its use a line is fetched; measured (docs/performance.md).
constexpr uint64_t kAheadQ8_0 = 8192, kAheadQ4_K = 0, kAheadQ5_K = 0, kAheadQ6_K = 0;

HWY_INLINE Ints load_ints(const uint8_t* p) { return _mm512_loadu_si512(p); }
// Into a register: a load that several instructions repeat as their operand would take the load ports' time.
HWY_INLINE Ints load_once(const uint8_t* p) {
  Ints v = load_ints(p);
  asm("" : "+v"(v));
  return v;
}
HWY_INLINE Ints zero_ints() { return _mm512_setzero_si512(); }
HWY_INLINE Ints set_bytes(char v) { return _mm512_set1_epi8(v); }
HWY_INLINE Ints set_lanes(int32_t v) { return _mm512_set1_epi32(v); }
HWY_INLINE Ints set_one(const int32_t* p) { return _mm512_set1_epi32(*p); }
HWY_INLINE Ints and_ints(Ints a, Ints b) { return _mm512_and_si512(a, b); }
// a | (b & mask)
HWY_INLINE Ints or_masked(Ints a, Ints b, Ints mask) { return _mm512_ternarylogic_epi32(a, b, mask, 0xf8); }
// Of bytes; bits that cross into a byte must be masked off.
template <int n>
HWY_INLINE Ints shift_right(Ints v) {
  return _mm512_srli_epi16(v, n);
}
HWY_INLINE Floats zero_floats() { return _mm512_setzero_ps(); }
HWY_INLINE void store_floats(float* p, Floats v) { _mm512_storeu_ps(p, v); }
HWY_INLINE Floats to_floats(Ints v) { return _mm512_cvtepi32_ps(v); }
HWY_INLINE Floats mul_floats(Floats a, Floats b) { return _mm512_mul_ps(a, b); }
HWY_INLINE Floats mul_one(Floats a, const float* b) { return _mm512_mul_ps(a, _mm512_set1_ps(*b)); }
HWY_INLINE Floats fma_floats(Floats a, Floats b, Floats c) { return _mm512_fmadd_ps(a, b, c); }
HWY_INLINE Floats fma_one(Floats a, const float* b, Floats c) { return _mm512_fmadd_ps(a, _mm512_set1_ps(*b), c); }
// acc - a * b
HWY_INLINE Floats subtract_product(Floats acc, Floats a, Floats b) { return _mm512_fnmadd_ps(a, b, acc); }
HWY_INLINE Ints add_ints(Ints a, Ints b) { return _mm512_add_epi32(a, b); }
HWY_INLINE Ints mul_ints(Ints a, Ints b) { return _mm512_mullo_epi32(a, b); }
// What reads v stays behind volatile assembly that stands before.
HWY_INLINE void pin(Ints& v) { asm volatile("" : "+v"(v)); }
HWY_INLINE Floats load_halves(const uint8_t* p) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
HWY_INLINE __m128i load_16(const uint8_t* p) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p)); }
// Byte k of each lane.
template <int k>
HWY_INLINE Ints byte_of(Ints v) {
  const Ints down = k == 0 ? v : _mm512_srli_epi32(v, 8 * k);
  return k == 3 ? down : _mm512_and_si512(down, set_lanes(0xff));
}
HWY_INLINE Ints ints_of_i8(const uint8_t* p) { return _mm512_cvtepi8_epi32(load_16(p)); }

HWY_INLINE Ints four_of(const int8_t* q) {
  int32_t v;
  std::memcpy(&v, q, sizeof v);
  return _mm512_set1_epi32(v);
}
// sum + four products per lane of the unsigned bytes u with q[0..3].
HWY_INLINE Ints dot4(Ints sum, Ints u, const int8_t* q) { return _mm512_dpbusd_epi32(sum, u, four_of(q)); }
// Adds kSteps steps of codes below 64 from element `first` on, and fetches kLines of `lines`.
template <int kN, int kSteps, int kLines, class Lines>
HWY_INLINE void add_steps(const Ints* u, const Operand* x, uint64_t first, Ints* sum, Lines& lines) {
  for (int k = 0; k < kSteps; ++k) {
    if (k < kLines) lines.fetch_before(sum[0]);
    for (int t = 0; t < kN; ++t) sum[t] = dot4(sum[t], u[k], x[t].q + first + 4 * k);
  }
}
// The sums of 32 elements. Upper nibbles stay where they are, as 16 * code, and have their own sums: one shift of the
// sums replaces a shift of every code.
template <int kN, class Lines>
HWY_INLINE void sum_4bit(const uint8_t* codes, const Operand* x, uint64_t first, Ints* sum, Lines& lines) {
  Ints both[4], high_sum[kN];
  for (int i = 0; i < 4; ++i) both[i] = load_once(codes + 64 * i);
  for (int t = 0; t < kN; ++t) sum[t] = high_sum[t] = zero_ints();
  for (int i = 0; i < 4; ++i) {
    lines.fetch_before(high_sum[0]);
    const Ints high = and_ints(both[i], set_bytes(static_cast<char>(0xf0)));
    for (int t = 0; t < kN; ++t) high_sum[t] = dot4(high_sum[t], high, x[t].q + first + 8 * i + 4);
  }
  lines.fetch_before(sum[0]);
  for (int i = 0; i < 4; ++i) {
    const Ints low = and_ints(both[i], set_bytes(0x0f));
    for (int t = 0; t < kN; ++t) sum[t] = dot4(sum[t], low, x[t].q + first + 8 * i);
  }
  for (int t = 0; t < kN; ++t) sum[t] = add_ints(sum[t], _mm512_srai_epi32(high_sum[t], 4));
}
// Codes plus 128, whose sums start at -128 * (sum of the activations).
struct Wide {
  Ints u;
  HWY_INLINE explicit Wide(Ints codes) : u(codes) {}
  HWY_INLINE Ints dot(Ints sum, const int8_t* q) const { return dot4(sum, u, q); }
};
HWY_INLINE Ints start_wide(const int32_t* offset) { return set_one(offset); }

#include "cpu/packed_codes.inc"
#include "cpu/packed_fetch.inc"
#include "cpu/packed_tiles.inc"

HWY_POP_ATTRIBUTES
}  // namespace stretto::cpu::packed_vnni

HWY_PUSH_ATTRIBUTES("avx,avx2,fma,f16c,bmi,bmi2");
namespace stretto::cpu::packed_avx2 {

constexpr bool kPairs = false, kScalesInRegisters = false;  // 16 registers
constexpr uint64_t kAheadQ8_0 = 8192, kAheadQ4_K = 8192, kAheadQ5_K = 8192, kAheadQ6_K = 8192;

struct Ints {
  __m256i a, b;
};
struct Floats {
  __m256 a, b;
};

HWY_INLINE __m256i load_32(const uint8_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
HWY_INLINE Ints load_ints(const uint8_t* p) { return {load_32(p), load_32(p + 32)}; }
HWY_INLINE Ints load_once(const uint8_t* p) { return load_ints(p); }
HWY_INLINE Ints zero_ints() { return {_mm256_setzero_si256(), _mm256_setzero_si256()}; }
HWY_INLINE Ints set_bytes(char v) { return {_mm256_set1_epi8(v), _mm256_set1_epi8(v)}; }
HWY_INLINE Ints set_lanes(int32_t v) { return {_mm256_set1_epi32(v), _mm256_set1_epi32(v)}; }
HWY_INLINE Ints set_one(const int32_t* p) { return {_mm256_set1_epi32(*p), _mm256_set1_epi32(*p)}; }
HWY_INLINE Ints and_ints(Ints a, Ints b) { return {_mm256_and_si256(a.a, b.a), _mm256_and_si256(a.b, b.b)}; }
HWY_INLINE Ints or_masked(Ints a, Ints b, Ints mask) {
  const Ints c = and_ints(b, mask);
  return {_mm256_or_si256(a.a, c.a), _mm256_or_si256(a.b, c.b)};
}
template <int n>
HWY_INLINE Ints shift_right(Ints v) {
  return {_mm256_srli_epi16(v.a, n), _mm256_srli_epi16(v.b, n)};
}
HWY_INLINE Floats zero_floats() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
HWY_INLINE void store_floats(float* p, Floats v) {
  _mm256_storeu_ps(p, v.a);
  _mm256_storeu_ps(p + 8, v.b);
}
HWY_INLINE Floats to_floats(Ints v) { return {_mm256_cvtepi32_ps(v.a), _mm256_cvtepi32_ps(v.b)}; }
HWY_INLINE Floats mul_floats(Floats a, Floats b) { return {_mm256_mul_ps(a.a, b.a), _mm256_mul_ps(a.b, b.b)}; }
HWY_INLINE Floats mul_one(Floats a, const float* b) {
  return mul_floats(a, {_mm256_broadcast_ss(b), _mm256_broadcast_ss(b)});
}
HWY_INLINE Floats fma_floats(Floats a, Floats b, Floats c) {
  return {_mm256_fmadd_ps(a.a, b.a, c.a), _mm256_fmadd_ps(a.b, b.b, c.b)};
}
HWY_INLINE Floats fma_one(Floats a, const float* b, Floats c) {
  const __m256 one = _mm256_broadcast_ss(b);
  return {_mm256_fmadd_ps(a.a, one, c.a), _mm256_fmadd_ps(a.b, one, c.b)};
}
HWY_INLINE Floats subtract_product(Floats acc, Floats a, Floats b) {
  return {_mm256_fnmadd_ps(a.a, b.a, acc.a), _mm256_fnmadd_ps(a.b, b.b, acc.b)};
}
HWY_INLINE Ints add_ints(Ints a, Ints b) { return {_mm256_add_epi32(a.a, b.a), _mm256_add_epi32(a.b, b.b)}; }
HWY_INLINE Ints mul_ints(Ints a, Ints b) { return {_mm256_mullo_epi32(a.a, b.a), _mm256_mullo_epi32(a.b, b.b)}; }
HWY_INLINE void pin(Ints& v) { asm volatile("" : "+x"(v.a), "+x"(v.b)); }
HWY_INLINE __m128i load_16(const uint8_t* p) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p)); }
HWY_INLINE __m128i load_8(const uint8_t* p) { return _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)); }
HWY_INLINE Floats load_halves(const uint8_t* p) {
  return {_mm256_cvtph_ps(load_16(p)), _mm256_cvtph_ps(load_16(p + 16))};
}
template <int k>
HWY_INLINE Ints byte_of(Ints v) {
  if constexpr (k > 0) v = {_mm256_srli_epi32(v.a, 8 * k), _mm256_srli_epi32(v.b, 8 * k)};
  return k == 3 ? v : and_ints(v, set_lanes(0xff));
}
HWY_INLINE Ints ints_of_i8(const uint8_t* p) {
  return {_mm256_cvtepi8_epi32(load_8(p)), _mm256_cvtepi8_epi32(load_8(p + 8))};
}
HWY_INLINE __m256i four_of(const int8_t* q) {
  int32_t v;
  std::memcpy(&v, q, sizeof v);
  return _mm256_set1_epi32(v);
}
// Pairs are summed in 16 bits with saturation, which magnitudes up to 128 do not reach: 2 * 128 * 127 < 2^15.
HWY_INLINE __m256i add_pairs(__m256i sum, __m256i pairs) {
  return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}
HWY_INLINE __m256i add_dot(__m256i sum, __m256i u, __m256i a) { return add_pairs(sum, _mm256_maddubs_epi16(u, a)); }
// The sums of pairs of several steps in 16 bits: 8 steps of 4-bit codes, 4 of 5-bit codes and 2 of 6-bit codes stay
// below 8 * 2 * 15 * 127, 4 * 2 * 31 * 127, 2 * 2 * 63 * 127 < 2^15.
HWY_INLINE Ints add_small(Ints pairs, Ints u, const int8_t* q) {
  const __m256i a = four_of(q);
  return {_mm256_add_epi16(pairs.a, _mm256_maddubs_epi16(u.a, a)),
          _mm256_add_epi16(pairs.b, _mm256_maddubs_epi16(u.b, a))};
}
// Adds kSteps steps of small codes, as many as 16 bits hold, and fetches kLines of `lines`.
template <int kSteps, int kLines, class Lines>
HWY_INLINE void add_steps_of_one(const Ints* u, const int8_t* q, Ints& sum, Lines& lines) {
  Ints pairs = zero_ints();
  for (int k = 0; k < kSteps; ++k) {
    if (k < kLines) lines.fetch_before(pairs);
    pairs = add_small(pairs, u[k], q + 4 * k);
  }
  sum = {add_pairs(sum.a, pairs.a), add_pairs(sum.b, pairs.b)};
}
template <int kN, int kSteps, int kLines, class Lines>
HWY_INLINE void add_steps(const Ints* u, const Operand* x, uint64_t first, Ints* sum, Lines& lines) {
  if constexpr (kSteps > 2) {
// Q5_K has its eight blocks in a row; with eight vectors in a row too they would not fit the instruction cache.
#pragma GCC unroll 1
    for (int t = 0; t < kN; ++t) add_steps_of_one<kSteps, kLines>(u, x[t].q + first, sum[t], lines);
  } else {
    for (int t = 0; t < kN; ++t) add_steps_of_one<kSteps, kLines>(u, x[t].q + first, sum[t], lines);
  }
}
// The sums of 32 elements.
template <int kN, class Lines>
HWY_INLINE void sum_4bit(const uint8_t* codes, const Operand* x, uint64_t first, Ints* sum, Lines& lines) {
  const Ints nibble = set_bytes(0x0f);
  for (int t = 0; t < kN; ++t) {
    Ints pairs = zero_ints();
    for (int i = 0; i < 4; ++i) {
      const Ints both = load_ints(codes + 64 * i);
      const int8_t* const q = x[t].q + first + 8 * i;
      lines.fetch_before(pairs);
      pairs = add_small(pairs, and_ints(both, nibble), q);
      pairs = add_small(pairs, and_ints(shift_right<4>(both), nibble), q + 4);
    }
    lines.fetch_before(pairs);
    const __m256i one = _mm256_set1_epi16(1);
    sum[t] = {_mm256_madd_epi16(pairs.a, one), _mm256_madd_epi16(pairs.b, one)};
  }
}
// Codes plus 128 are made signed again: |w| times the activations with the sign of w; the sums start at 0.
struct Wide {
  Ints w;
  Ints magnitude;
  HWY_INLINE explicit Wide(Ints codes) {
    const __m256i flip = _mm256_set1_epi8(static_cast<char>(0x80));
    w = {_mm256_xor_si256(codes.a, flip), _mm256_xor_si256(codes.b, flip)};
    magnitude = {_mm256_abs_epi8(w.a), _mm256_abs_epi8(w.b)};
  }
  HWY_INLINE Ints dot(Ints sum, const int8_t* q) const {
    const __m256i a = four_of(q);
    return {add_dot(sum.a, magnitude.a, _mm256_sign_epi8(a, w.a)),
            add_dot(sum.b, magnitude.b, _mm256_sign_epi8(a, w.b))};
  }
};
HWY_INLINE Ints start_wide(const int32_t*) { return zero_ints(); }

#include "cpu/packed_codes.inc"
#include "cpu/packed_fetch.inc"
#include "cpu/packed_tiles.inc"

HWY_POP_ATTRIBUTES
}  // namespace stretto::cpu::packed_avx2

namespace stretto::cpu {

TileKernel packed_tile_kernel(DType type, const Isa& isa, Fetch fetch) {
  if (isa.vnni) return packed_vnni::kernel_for(type, fetch);
  return isa.target == HWY_AVX2 || isa.target == HWY_AVX3 ? packed_avx2::kernel_for(type, fetch) : nullptr;
}

}  // namespace stretto::cpu

#else

namespace stretto::cpu {

TileKernel packed_tile_kernel(DType, const Isa&, Fetch) { return nullptr; }

}  // namespace stretto::cpu

#endif  // HWY_ARCH_X86
