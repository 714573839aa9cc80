#include "cpu/isa.h"

#include <string>

#include "base/error.h"

namespace stretto::cpu {
namespace {

#if HWY_ARCH_X86
constexpr Isa kSets[] = {
    {"avx512-vnni", HWY_AVX3, true}, {"avx512", HWY_AVX3, false}, {"avx2", HWY_AVX2, false}, {"sse4", HWY_SSE4, false}};
bool has_vnni() { return __builtin_cpu_supports("avx512vnni") != 0; }
#elif HWY_ARCH_ARM
constexpr Isa kSets[] = {{"neon", HWY_NEON, false}};
bool has_vnni() { return false; }
#else
#error "the instruction sets of this architecture are not listed"
#endif

}  // namespace

std::vector<Isa> supported_isas() {
  const int64_t supported = hwy::SupportedTargets();
  std::vector<Isa> out;
  for (const Isa& isa : kSets)
    if ((supported & isa.target) != 0 && (!isa.vnni || has_vnni())) out.push_back(isa);
  out.push_back({"scalar", 0, false});
  return out;
}

Isa choose_isa(std::string_view name) {
  const std::vector<Isa> available = supported_isas();
  if (name.empty()) return available.front();
  std::string list;
  for (const Isa& isa : available) {
    if (isa.name == name) return isa;
    list += (list.empty() ? "" : ", ") + std::string(isa.name);
  }
  fail(ErrorKind::kBadArgument, "--cpu-isa {}: this machine can run {}", name, list);
}

}  // namespace stretto::cpu
