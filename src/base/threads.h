// A fixed team of threads that run one job together, meeting at barriers; nothing is allocated per job.
#pragma once

#include <atomic>
#include <cstdint>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

namespace stretto {

// The number of threads that share no core: physical cores among the CPUs this process may use, at most what a
// cgroup CPU quota grants, at least 1.
int default_thread_count();

// Between two looks at a word that another thread will change: some tens of nanoseconds.
inline void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Waits until `word` differs from `seen`: spins for a moment, then sleeps in the kernel.
void wait_until_changed(const std::atomic<uint32_t>& word, uint32_t seen, int n_spins);

// Spins before sleeping: about 50 microseconds when every one of `n_threads` has a CPU of its own, none otherwise.
int spins_for(int n_threads);

// All of n threads wait for each other, again and again (sense reversing: the generation number is the sense).
class Barrier {
 public:
  explicit Barrier(int n_threads) : n_threads_(static_cast<uint32_t>(n_threads)), n_spins_(spins_for(n_threads)) {}

  // The last thread to arrive runs `last` before any thread goes on. What a thread wrote before is visible to all
  // after.
  template <class F>
  void wait(const F& last) {
    wait(last, [] {});
  }
  // A thread that spins calls idle() between two looks.
  template <class F, class Idle>
  void wait(const F& last, const Idle& idle) {
    const uint32_t generation = generation_.load(std::memory_order_acquire);
    if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == n_threads_) {
      arrived_.store(0, std::memory_order_relaxed);
      last();
      generation_.store(generation + 1, std::memory_order_release);
      generation_.notify_all();
    } else {
      for (int i = 0; i < n_spins_; ++i) {
        if (generation_.load(std::memory_order_acquire) != generation) return;
        idle();
        relax();
      }
      wait_until_changed(generation_, generation, 0);
    }
  }
  void wait() {
    wait([] {});
  }

 private:
  alignas(64) std::atomic<uint32_t> arrived_{0};
  alignas(64) std::atomic<uint32_t> generation_{0};
  const uint32_t n_threads_;
  const int n_spins_;
};

class ThreadPool {
 public:
  // n_threads >= 1, the caller of run() included. Throws Error(kHostMemory) when the system refuses a thread.
  explicit ThreadPool(int n_threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int size() const { return n_threads_; }

  // Calls fn(thread) once on every thread, 0 <= thread < size(), 0 being the caller; returns when all have. fn must not
  // throw, and run() must not be called from two threads at once.
  template <class F>
  void run(F&& fn) {
    run_job([](void* context, int thread) { (*static_cast<std::remove_reference_t<F>*>(context))(thread); }, &fn);
  }

 private:
  using Job = void (*)(void* context, int thread);
  void run_job(Job job, void* context);
  void work(int thread);
  void stop();

  const int n_threads_;
  const int n_spins_;
  Job job_ = nullptr;
  void* context_ = nullptr;
  bool stopping_ = false;
  alignas(64) std::atomic<uint32_t> generation_{0};  // of jobs: a change wakes the workers
  alignas(64) std::atomic<uint32_t> n_working_{0};
  alignas(64) std::atomic<uint32_t> n_finished_{0};  // of jobs: a change wakes the caller
  std::vector<std::thread> threads_;
};

}  // namespace stretto
