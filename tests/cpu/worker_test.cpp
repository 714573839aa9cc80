// How threads share the items of an op (cpu/machine.h).
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <vector>

#include "cpu/machine.h"

namespace stretto::cpu {
namespace {

// Which thread did each item of each owner; -1: nobody, -2: more than one.
using Doers = std::vector<std::vector<int>>;

void spend(std::chrono::microseconds time) {
  const auto end = std::chrono::steady_clock::now() + time;
  while (std::chrono::steady_clock::now() < end) relax();
}

// `slow` takes a long time over each of its items.
Doers share_items(int n_threads, const std::vector<uint64_t>& n_items, int slow, int n_phases) {
  Worker::Shared shared(n_threads);
  Doers doers;
  for (const uint64_t n : n_items) doers.emplace_back(n * static_cast<uint64_t>(n_phases), -1);
  ThreadPool pool(n_threads);
  pool.run([&](int thread) {
    Worker worker(shared, thread, n_threads, nullptr);
    for (int phase = 0; phase < n_phases; ++phase) {
      const auto n_of = [&](int owner) { return n_items[static_cast<size_t>(owner)]; };
      worker.share_runs(n_of, 16 << 10, [&](const Worker::Run& run) {
        uint64_t i = run.begin;
        for (; i < run.end; ++i) {
          if (i >= run.begin + 2 && run.interrupt != nullptr && run.interrupt->load() != 0) break;
          if (thread == slow) spend(std::chrono::microseconds(5));
          int& doer = doers[static_cast<size_t>(run.owner)][i + static_cast<uint64_t>(phase) * n_of(run.owner)];
          doer = doer == -1 ? thread : -2;
        }
        return i;
      });
      worker.sync();
    }
  });
  return doers;
}

void expect_each_once(const Doers& doers) {
  for (const std::vector<int>& items : doers)
    for (const int doer : items) EXPECT_GE(doer, 0);
}

TEST(Worker, EveryItemIsDoneOnceWhoeverIsSlow) {
  for (const int slow : {-1, 0, 1}) expect_each_once(share_items(2, {50, 50}, slow, 20));
  expect_each_once(share_items(2, {0, 7}, -1, 20));
  expect_each_once(share_items(1, {5}, -1, 3));
}

TEST(Worker, EveryItemIsDoneOnceWithMoreThreadsThanCores) {
  const int n = 3 * default_thread_count() + 1;
  expect_each_once(share_items(n, std::vector<uint64_t>(static_cast<size_t>(n), 9), 0, 10));
}

TEST(Worker, ASlowThreadGivesSomeOfItsItemsAway) {
  if (spins_for(2) == 0) GTEST_SKIP() << "one core";
  // On a busy machine the two seldom run at the same time.
  constexpr int kMostAttempts = 1000;
  int64_t given = 0;
  for (int attempt = 0; given == 0; ++attempt) {
    ASSERT_LT(attempt, kMostAttempts);
    const Doers doers = share_items(2, {200, 200}, 0, 20);
    expect_each_once(doers);
    given = std::count(doers[0].begin(), doers[0].end(), 1);
  }
}

}  // namespace
}  // namespace stretto::cpu
