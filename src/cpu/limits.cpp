#include "cpu/limits.h"

#include <algorithm>
#include <chrono>

#include "base/threads.h"
#include "cpu/read_sweep.h"

namespace stretto::cpu {
namespace {

constexpr int kBarriers = 20'000;
constexpr int kPasses = 5;

double sweep_gbps(int n_threads) {
  const auto sweep = make_read_sweep(n_threads);
  std::vector<double> gbps;
  for (int i = 0; i < kPasses; ++i) gbps.push_back(sweep->pass_gbps());
  std::sort(gbps.begin(), gbps.end());
  return gbps[gbps.size() / 2];
}

// What the threads of a step pay between two ops when all arrive at once.
double barrier_us(int n_threads) {
  ThreadPool pool(n_threads);
  Barrier barrier(n_threads);
  const auto start = std::chrono::steady_clock::now();
  pool.run([&](int) {
    for (int i = 0; i < kBarriers; ++i) barrier.wait();
  });
  const std::chrono::duration<double, std::micro> time = std::chrono::steady_clock::now() - start;
  return time.count() / kBarriers;
}

}  // namespace

std::vector<DeviceLimit> measure_limits(int n_threads) {
  std::vector<DeviceLimit> limits;
  for (int n = 1; n <= n_threads; ++n)
    limits.push_back({.what = "read_sweep",
                      .detail = "memory like that of the weights, once",
                      .count = static_cast<uint64_t>(n),
                      .gbps = sweep_gbps(n)});
  for (int n = 2; n <= n_threads; ++n)
    limits.push_back({.what = "thread_barrier",
                      .detail = "all threads meet",
                      .count = static_cast<uint64_t>(n),
                      .us = barrier_us(n)});
  return limits;
}

}  // namespace stretto::cpu
