#include "cpu/read_sweep.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <vector>

#include "base/threads.h"
#include "cpu/arena.h"

namespace stretto::cpu {
namespace {

constexpr uint64_t kSweepBytes = 1ULL << 30;
constexpr int kPasses = 7;

// Compiled for several vector widths, so that the memory is the limit and not the loads. (Resolvers of such clones run
// before the thread sanitizer is ready, and crash under it.)
#if defined(__x86_64__) && !defined(__SANITIZE_THREAD__)
__attribute__((target_clones("default", "avx2", "avx512f")))
#endif
uint64_t
sum_words(const std::byte* data, uint64_t bytes) {
  uint64_t sums[8] = {};
  for (uint64_t i = 0; i < bytes; i += sizeof sums) {
    uint64_t words[8];
    std::memcpy(words, data + i, sizeof words);
    for (int k = 0; k < 8; ++k) sums[k] += words[k];
  }
  return sums[0] + sums[1] + sums[2] + sums[3] + sums[4] + sums[5] + sums[6] + sums[7];
}

}  // namespace

double read_sweep_gbps(int n_threads) {
  const uint64_t bytes = std::min(kSweepBytes, available_host_bytes() / 4 / 4096 * 4096);
  const Arena arena(bytes, "the read sweep");
  const uint64_t part = bytes / static_cast<uint64_t>(n_threads) / 64 * 64;
  ThreadPool pool(n_threads);
  // Every page is written by the thread that reads it, and nothing is zero.
  pool.run([&](int t) { std::memset(arena.data() + static_cast<uint64_t>(t) * part, 1, part); });
  std::atomic<uint64_t> kept{0};  // keeps the sums alive
  double best = 0;
  for (int i = 0; i < kPasses; ++i) {
    const auto start = std::chrono::steady_clock::now();
    pool.run([&](int t) {
      kept.fetch_add(sum_words(arena.data() + static_cast<uint64_t>(t) * part, part), std::memory_order_relaxed);
    });
    const std::chrono::duration<double> time = std::chrono::steady_clock::now() - start;
    best = std::max(best, static_cast<double>(part) * n_threads / time.count() / 1e9);
  }
  return best;
}

}  // namespace stretto::cpu
