// How a thread that reads weights from memory once fetches their lines ahead of their use.
//
// A core of the Intel machines measured here follows one ascending stream at two thirds of what it can read: along a
// page its prefetcher goes only so far ahead of the loads. With the lines of several pages in turn it follows each of
// them, and more lines are under way. AMD's (Zen 4) is fastest with ascending lines (docs/performance.md has both).
#pragma once

#include <cstdint>
#include <string_view>

namespace stretto::cpu {

enum class Fetch {
  kAscending,    // as lines lie; by the hardware alone where that is faster
  kPagesInTurn,  // to the second-level cache, the lines of kTurnPages pages in turn
};

// What is faster on this machine.
inline Fetch fetch_of_machine() {
#if defined(__x86_64__)
  return __builtin_cpu_is("intel") != 0 ? Fetch::kPagesInTurn : Fetch::kAscending;
#else
  return Fetch::kAscending;
#endif
}

// As `stretto doctor` and the line about the device have it.
inline std::string_view name(Fetch fetch) {
  return fetch == Fetch::kPagesInTurn ? "pages fetched in turn" : "lines fetched as they lie";
}

inline constexpr uint64_t kLineBytes = 64, kPageBytes = 4096;
inline constexpr uint64_t kTurnPages = 8;  // 16 are no faster, 4 read 27.7 instead of 30.0 GB/s
inline constexpr uint64_t kTurnBytes = kTurnPages * kPageBytes;

// The address of the line to fetch when the one at `address` is read: as the reader passes through a window of
// kTurnPages pages in ascending order, those of the next window follow page 0 line 0, page 1 line 0, .. page 0 line 1.
inline uint64_t address_in_turn(uint64_t address) {
  constexpr uint64_t kPageLines = kPageBytes / kLineBytes;
  const uint64_t page = address / kLineBytes % kTurnPages, line = address / (kTurnPages * kLineBytes) % kPageLines;
  return address / kTurnBytes * kTurnBytes + kTurnBytes + page * kPageBytes + line * kLineBytes;
}
// The lines of a group, which begins at a multiple of its size, are fetched from neighbouring pages.
inline constexpr uint64_t kTurnGroupLines = 4, kTurnGroupBytes = kTurnGroupLines * kLineBytes;

// Volatile: compilers delete prefetches from functions that do nothing else.
inline void fetch_to_second_level([[maybe_unused]] uint64_t address) {
#if defined(__x86_64__)
  asm volatile("prefetcht1 %0" : : "m"(*reinterpret_cast<const char*>(address)));
#endif
}

}  // namespace stretto::cpu
