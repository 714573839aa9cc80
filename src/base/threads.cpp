#include "base/threads.h"

#include <sched.h>

#include <algorithm>
#include <fstream>
#include <set>
#include <string>
#include <system_error>

#include "base/check.h"
#include "base/error.h"

namespace stretto {
namespace {

std::vector<int> usable_cpus() {
  cpu_set_t set;
  std::vector<int> cpus;
  if (sched_getaffinity(0, sizeof set, &set) != 0) return cpus;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu)
    if (CPU_ISSET(cpu, &set)) cpus.push_back(cpu);
  return cpus;
}

// CPUs granted by the cgroup v2 quota, rounded up; 0 without a quota.
int quota_cpus() {
  std::ifstream file("/sys/fs/cgroup/cpu.max");
  std::string quota;
  int64_t period = 0;
  if (!(file >> quota >> period) || quota == "max" || period <= 0) return 0;
  return static_cast<int>((std::strtoll(quota.c_str(), nullptr, 10) + period - 1) / period);
}

}  // namespace

int default_thread_count() {
  const std::vector<int> cpus = usable_cpus();
  std::set<std::string> cores;  // each core by the list of its sibling CPUs
  for (const int cpu : cpus) {
    std::ifstream file("/sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/topology/thread_siblings_list");
    std::string siblings;
    if (!std::getline(file, siblings)) siblings = std::to_string(cpu);
    cores.insert(siblings);
  }
  const int n_cores = std::max<int>(1, static_cast<int>(cores.size()));
  const int quota = quota_cpus();
  return quota > 0 ? std::min(n_cores, quota) : n_cores;
}

int spins_for(int n_threads) {
  constexpr int kSpins = 2000;  // about 50 microseconds of pause instructions
  const auto n_cpus = static_cast<int>(usable_cpus().size());
  return n_threads <= n_cpus ? kSpins : 0;
}

void wait_until_changed(const std::atomic<uint32_t>& word, uint32_t seen, int n_spins) {
  for (int i = 0; i < n_spins; ++i) {
    if (word.load(std::memory_order_acquire) != seen) return;
    relax();
  }
  while (word.load(std::memory_order_acquire) == seen) word.wait(seen, std::memory_order_acquire);
}

ThreadPool::ThreadPool(int n_threads) : n_threads_(n_threads), n_spins_(spins_for(n_threads)) {
  CHECK(n_threads >= 1);
  threads_.reserve(static_cast<size_t>(n_threads - 1));
  try {
    for (int i = 1; i < n_threads; ++i) threads_.emplace_back([this, i] { work(i); });
  } catch (const std::system_error& e) {
    const size_t started = threads_.size() + 1;
    stop();
    fail(ErrorKind::kHostMemory, "the system started {} of {} threads ({}); ask for fewer with --threads", started,
         n_threads, e.what());
  }
}

ThreadPool::~ThreadPool() { stop(); }

void ThreadPool::stop() {
  stopping_ = true;
  generation_.fetch_add(1, std::memory_order_release);
  generation_.notify_all();
  for (std::thread& t : threads_) t.join();
  threads_.clear();
}

void ThreadPool::run_job(Job job, void* context) {
  const uint32_t finished = n_finished_.load(std::memory_order_relaxed);
  job_ = job;
  context_ = context;
  n_working_.store(static_cast<uint32_t>(n_threads_ - 1), std::memory_order_relaxed);
  if (n_threads_ > 1) {
    generation_.fetch_add(1, std::memory_order_release);
    generation_.notify_all();
  }
  job(context, 0);
  if (n_threads_ > 1) wait_until_changed(n_finished_, finished, n_spins_);
}

void ThreadPool::work(int thread) {
  for (uint32_t seen = 0;; ++seen) {
    wait_until_changed(generation_, seen, n_spins_);
    if (stopping_) return;
    job_(context_, thread);
    if (n_working_.fetch_sub(1, std::memory_order_acq_rel) == 1) {
      n_finished_.fetch_add(1, std::memory_order_release);
      n_finished_.notify_all();
    }
  }
}

}  // namespace stretto
