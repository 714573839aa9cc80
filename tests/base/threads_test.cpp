#include "base/threads.h"

#include <gtest/gtest.h>

#include <array>
#include <numeric>

namespace stretto {
namespace {

TEST(ThreadPool, RunsEveryThreadOncePerJob) {
  for (const int n : {1, 2, 5}) {
    ThreadPool pool(n);
    EXPECT_EQ(pool.size(), n);
    std::vector<int> calls(static_cast<size_t>(n));  // each thread touches only its own
    for (int job = 1; job <= 300; ++job) {
      pool.run([&](int thread) { ++calls[static_cast<size_t>(thread)]; });
      for (const int c : calls) ASSERT_EQ(c, job);
    }
  }
}

TEST(ThreadPool, ThreadZeroIsTheCaller) {
  ThreadPool pool(3);
  std::array<std::thread::id, 3> ids;
  pool.run([&](int thread) { ids[static_cast<size_t>(thread)] = std::this_thread::get_id(); });
  EXPECT_EQ(ids[0], std::this_thread::get_id());
  EXPECT_NE(ids[1], ids[0]);
  EXPECT_NE(ids[2], ids[1]);
}

TEST(ThreadPool, CanBeDestroyedUnusedAndAfterSleeping) {
  { ThreadPool unused(4); }
  ThreadPool pool(3);
  pool.run([](int) {});
  std::this_thread::sleep_for(std::chrono::milliseconds(20));  // the workers go to sleep
  std::atomic<int> calls{0};
  pool.run([&](int) { ++calls; });
  EXPECT_EQ(calls, 3);
}

TEST(Barrier, OrdersWritesBetweenPhases) {
  for (const int n : {1, 2, 5}) {
    ThreadPool pool(n);
    Barrier barrier(n);
    std::vector<int> values(static_cast<size_t>(n), 0);  // plain ints: only the barrier orders them
    std::atomic<int> mistakes{0};
    pool.run([&](int thread) {
      for (int phase = 1; phase <= 200; ++phase) {
        values[static_cast<size_t>(thread)] = phase;
        barrier.wait();
        if (std::accumulate(values.begin(), values.end(), 0) != phase * n) ++mistakes;
        barrier.wait();
      }
    });
    EXPECT_EQ(mistakes, 0);
  }
}

TEST(Barrier, TheLastThreadRunsTheActionBeforeAnyGoesOn) {
  constexpr int kThreads = 4;
  ThreadPool pool(kThreads);
  Barrier barrier(kThreads);
  int actions = 0;
  std::atomic<int> mistakes{0};
  pool.run([&](int) {
    for (int phase = 1; phase <= 100; ++phase) {
      barrier.wait([&] { ++actions; });
      if (actions != phase) ++mistakes;
      barrier.wait();
    }
  });
  EXPECT_EQ(actions, 100);
  EXPECT_EQ(mistakes, 0);
}

TEST(Threads, TheDefaultCountFitsTheMachine) {
  const int n = default_thread_count();
  EXPECT_GE(n, 1);
  EXPECT_LE(n, static_cast<int>(std::thread::hardware_concurrency()));
  EXPECT_GT(spins_for(1), 0);
  EXPECT_EQ(spins_for(1 << 20), 0);
}

}  // namespace
}  // namespace stretto
