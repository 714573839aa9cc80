// Which instruction set the kernels use. Every kernel file is compiled once per Highway target; at run time the best
// set that the machine has is chosen, or the one that --cpu-isa names.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "hwy/highway.h"

namespace stretto::cpu {

struct Isa {
  std::string_view
      name;            // the flag's spelling: "avx512-amx", "avx512-vnni", "avx512", "avx2", "sse4", "neon", "scalar"
  int64_t target = 0;  // HWY_AVX3, ...; 0: the baseline of the build
  bool vnni = false;   // 8-bit dot products of AVX-512 VNNI beside `target`
  bool amx = false;    // 8-bit tile products of AMX beside both
};

// Why AMX is not among supported_isas(); empty where it is.
const std::string& amx_problem();

// What this machine can run, best first; the last one is "scalar".
std::vector<Isa> supported_isas();

// The set called `name`, the best one for an empty name. Throws Error(kBadArgument) listing what the machine can run.
Isa choose_isa(std::string_view name);

// The entry for `target` of a table that HWY_EXPORT made; the baseline one when that target was not compiled.
// (Highway's own dispatch reads a process-wide choice; two backends with different sets must not share one.)
template <class Function, size_t n>
Function kernel_at(Function const (&table)[n], int64_t target) {
  if constexpr (n == 1) {
    return table[0];
  } else {
    const int64_t mask = HWY_CHOSEN_TARGET_SHIFT(target) & HWY_CHOSEN_TARGET_MASK_TARGETS;
    const auto candidates = static_cast<uint64_t>(mask | HWY_CHOSEN_TARGET_MASK_SCALAR);
    return table[hwy::Num0BitsBelowLS1Bit_Nonzero64(candidates)];
  }
}

}  // namespace stretto::cpu
