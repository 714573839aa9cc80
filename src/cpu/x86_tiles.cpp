// Block-format weights times 8-bit activations on x86: 256-bit kernels, once with AVX2 alone and once with the 8-bit
// dot product of AVX-512 VNNI. (Highway 1.0 has no 8-bit dot product, hence intrinsics.)
#include "cpu/kernels.h"
#include "formats/formats.h"

#if HWY_ARCH_X86

#include <immintrin.h>

HWY_PUSH_ATTRIBUTES("avx,avx2,fma,f16c,bmi,bmi2")
namespace stretto::cpu::x86_avx2 {

// Four products each of unsigned u and signed a, summed into 32-bit lanes. Pairs are summed in 16 bits with saturation,
// which no operand of ours reaches: 2 * 128 * 127 < 2^15.
HWY_INLINE __m256i dot4(__m256i u, __m256i a) {
  return _mm256_madd_epi16(_mm256_maddubs_epi16(u, a), _mm256_set1_epi16(1));
}

#include "cpu/x86_tiles.inc"

}  // namespace stretto::cpu::x86_avx2
HWY_POP_ATTRIBUTES

HWY_PUSH_ATTRIBUTES("avx,avx2,fma,f16c,bmi,bmi2,avx512f,avx512vl,avx512bw,avx512dq,avx512vnni")
namespace stretto::cpu::x86_vnni {

HWY_INLINE __m256i dot4(__m256i u, __m256i a) { return _mm256_dpbusd_epi32(_mm256_setzero_si256(), u, a); }

#include "cpu/x86_tiles.inc"

}  // namespace stretto::cpu::x86_vnni
HWY_POP_ATTRIBUTES

namespace stretto::cpu {

TileKernel x86_integer_tile_kernel(DType type, const Isa& isa) {
  if (isa.vnni) return x86_vnni::tile_kernel_for(type);
  return isa.target == HWY_AVX2 || isa.target == HWY_AVX3 ? x86_avx2::tile_kernel_for(type) : nullptr;
}

}  // namespace stretto::cpu

#else

namespace stretto::cpu {

TileKernel x86_integer_tile_kernel(DType, const Isa&) { return nullptr; }

}  // namespace stretto::cpu

#endif  // HWY_ARCH_X86
