#include "cpu/read_sweep.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>

#include "base/threads.h"
#include "cpu/arena.h"
#include "cpu/fetch.h"

namespace stretto::cpu {
namespace {

constexpr uint64_t kSweepBytes = 1ULL << 30, kPartAlign = 2 * kLineBytes;

// Compiled for several vector widths, so that the memory is the limit and not the loads: the compiler would add words
// one by one. (Resolvers of such clones run before the thread sanitizer is ready, and crash under it.)
#if defined(__x86_64__) && !defined(__SANITIZE_THREAD__)
#define STRETTO_SWEEP_CLONES __attribute__((target_clones("default", "avx2", "avx512f")))
#else
#define STRETTO_SWEEP_CLONES
#endif

using Line [[gnu::vector_size(kLineBytes)]] = uint64_t;

STRETTO_SWEEP_CLONES uint64_t sum_ascending(const std::byte* data, uint64_t bytes) {
  Line sums[2] = {};
  for (uint64_t i = 0; i < bytes; i += sizeof sums)
    for (uint64_t k = 0; k < 2; ++k) sums[k] += *reinterpret_cast<const Line*>(data + i + k * sizeof(Line));
  return sums[0][0] + sums[1][0];
}

STRETTO_SWEEP_CLONES uint64_t sum_pages_in_turn(const std::byte* data, uint64_t bytes) {
  Line sums[2] = {};
  for (uint64_t i = 0; i < bytes; i += sizeof sums)
    for (uint64_t k = 0; k < 2; ++k) {
      const std::byte* const line = data + i + k * sizeof(Line);
      fetch_to_second_level(address_in_turn(reinterpret_cast<uint64_t>(line)));
      sums[k] += *reinterpret_cast<const Line*>(line);
    }
  return sums[0][0] + sums[1][0];
}

class CpuReadSweep : public ReadSweep {
 public:
  explicit CpuReadSweep(int n_threads)
      : arena_(std::min(kSweepBytes, available_host_bytes() / 4 / 4096 * 4096), "the read sweep"),
        part_(arena_.bytes() / static_cast<uint64_t>(n_threads) / kPartAlign * kPartAlign),
        pool_(n_threads) {
    // Every page is written by the thread that reads it, and nothing is zero.
    pool_.run([&](int t) { std::memset(part(t), 1, part_); });
  }

  double pass_gbps() override {
    // As fast as this machine reads, which is as the kernels read.
    const auto sum = fetch_of_machine() == Fetch::kPagesInTurn ? &sum_pages_in_turn : &sum_ascending;
    const auto start = std::chrono::steady_clock::now();
    pool_.run([&](int t) { kept_.fetch_add(sum(part(t), part_), std::memory_order_relaxed); });
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
