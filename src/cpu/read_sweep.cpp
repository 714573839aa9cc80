#include "cpu/read_sweep.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>

#include "base/threads.h"
#include "cpu/arena.h"

namespace stretto::cpu {
namespace {

constexpr uint64_t kSweepBytes = 1ULL << 30;

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

class CpuReadSweep : public ReadSweep {
 public:
  explicit CpuReadSweep(int n_threads)
      : arena_(std::min(kSweepBytes, available_host_bytes() / 4 / 4096 * 4096), "the read sweep"),
        part_(arena_.bytes() / static_cast<uint64_t>(n_threads) / 64 * 64),
        pool_(n_threads) {
    // Every page is written by the thread that reads it, and nothing is zero.
    pool_.run([&](int t) { std::memset(part(t), 1, part_); });
  }

  double pass_gbps() override {
    const auto start = std::chrono::steady_clock::now();
    pool_.run([&](int t) { kept_.fetch_add(sum_words(part(t), part_), std::memory_order_relaxed); });
    const std::chrono::duration<double> time = std::chrono::steady_clock::now() - start;
    return static_cast<double>(part_) * pool_.size() / time.count() / 1e9;
  }

 private:
  std::byte* part(int thread) const { return arena_.data() + static_cast<uint64_t>(thread) * part_; }

  const Arena arena_;
  const uint64_t part_;  // bytes per thread
  ThreadPool pool_;
  std::atomic<uint64_t> kept_{0};  // keeps the sums alive
};

}  // namespace

std::unique_ptr<ReadSweep> make_read_sweep(int n_threads) { return std::make_unique<CpuReadSweep>(n_threads); }

}  // namespace stretto::cpu
