#include "cpu/isa.h"

#include <cerrno>
#include <cstring>
#include <string>

#include "base/error.h"

#if HWY_ARCH_X86
#include <cpuid.h>
#endif
#if HWY_ARCH_X86 && defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace stretto::cpu {
namespace {

#if HWY_ARCH_X86
constexpr Isa kSets[] = {{"avx512-amx", HWY_AVX3, true, true},
                         {"avx512-vnni", HWY_AVX3, true},
                         {"avx512", HWY_AVX3},
                         {"avx2", HWY_AVX2},
                         {"sse4", HWY_SSE4}};
bool has_vnni() { return __builtin_cpu_supports("avx512vnni") != 0; }

// Leaf 7: tiles and their 8-bit products; leaf 13: the tile state (components 17 and 18) switched on by the system.
std::string find_amx_problem() {
  constexpr uint32_t kTiles = 1U << 24, kProducts = 1U << 25, kState = 3U << 17;
  uint32_t a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0 || (d & kTiles) == 0 || (d & kProducts) == 0 || !has_vnni())
    return "not in this CPU";
  if (__get_cpuid_count(13, 0, &a, &b, &c, &d) == 0 || (a & kState) != kState)
    return "in this CPU, but its state is switched off";
#if defined(__linux__)
  // Linux gives a process the tile registers when it asks for them.
  constexpr long kRequestPermission = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  if (syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0) return {};
  return std::string("in this CPU, but the kernel does not grant it: ") + std::strerror(errno);
#else
  return "in this CPU, but used on Linux only";
#endif
}
#elif HWY_ARCH_ARM
constexpr Isa kSets[] = {{"neon", HWY_NEON}};
bool has_vnni() { return false; }
std::string find_amx_problem() { return "not in this CPU"; }
#else
#error "the instruction sets of this architecture are not listed"
#endif

}  // namespace

const std::string& amx_problem() {
  static const std::string problem = find_amx_problem();
  return problem;
}

std::vector<Isa> supported_isas() {
  const int64_t supported = hwy::SupportedTargets();
  std::vector<Isa> out;
  for (const Isa& isa : kSets) {
    if ((supported & isa.target) == 0 || (isa.vnni && !has_vnni()) || (isa.amx && !amx_problem().empty())) continue;
    out.push_back(isa);
  }
  out.push_back({"scalar"});
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
