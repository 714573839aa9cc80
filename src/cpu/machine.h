// What the ops of the CPU backend run on. An op has three functions, found by overload (cpu/ops.h):
//
//   supports(op, tables)       whether the CPU has a kernel for these types and shapes
//   plan(op, planner)          at compile time: which weights it reads in which form, and the scratch it needs
//   run(op, machine, worker)   called by every thread of the step; threads divide the work with worker.share() and
//                              order its phases with worker.sync(). The executable syncs after each op.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "backend/backend.h"
#include "base/check.h"
#include "base/checked.h"
#include "base/threads.h"
#include "cpu/kernels.h"

namespace stretto::cpu {

// A weight as rows to multiply with.
struct Matrix {
  const std::byte* data = nullptr;
  DType type = DType::kF32;
  uint64_t n_in = 0;
  uint64_t n_rows = 0;     // all leading dimensions joined
  uint64_t row_bytes = 0;  // from a row to the next; of packed rows a sixteenth of the way from a group to the next
  TileKernel kernel = nullptr;
  bool integer = false;   // multiplies operands (cpu/kernels.h), else float32 vectors
  uint64_t tile = kTile;  // most vectors of one call of the kernel
  uint64_t row_step = 1;  // rows are taken from multiples of this: kGroupRows where packed (cpu/packed.h)
};

// Cosines and sines of the step's positions for one rope table, with the table's scale in them.
struct RopeRows {
  const RopeTable* table = nullptr;
  float* cos = nullptr;          // [tokens, n_pairs]
  float* sin = nullptr;          // [tokens, n_pairs]
  float* temperature = nullptr;  // [tokens]
  uint64_t n_pairs() const { return table->inv_freq.size(); }
};

// How a state of one row per position is divided into heads.
struct Cache {
  uint64_t head_dim = 0;
  bool keys = false;            // in groups of positions
  bool rows = false;            // no cache: one row per position, [n_ctx, width]
  uint64_t head_bytes = 0;      // of all positions of one head
  uint64_t position_bytes = 0;  // of one position of one head
};

struct Machine {
  const Program* program = nullptr;
  Step step;               // in sequential nodes the one token whose turn it is
  uint64_t first_row = 0;  // of that token in the values
  uint64_t n_ctx = 0;
  VectorKernels vec{};
  std::vector<std::byte*> values;            // per ValueId
  std::vector<std::byte*> states;            // per StateId
  std::vector<Matrix> matrices;              // per WeightId, where multiplied
  std::vector<Matrix> lookups;               // per WeightId, where rows are copied: as stored, no kernel
  std::vector<const float*> vectors;         // per WeightId, where used as a vector of floats
  std::vector<AttentionKernels> attentions;  // per StateId, where it is a cache
  std::vector<Cache> caches;                 // per StateId
  std::vector<RopeRows> ropes;
  std::byte* scratch = nullptr;  // of the running op, shared by the threads

  const Tables& tables() const { return program->tables; }
  uint64_t n_tokens() const { return step.tokens.size(); }
  uint64_t rows(ValueId id) const {
    return tables()[id].rows == Rows::kTokens ? step.tokens.size() : step.outputs.size();
  }
  uint64_t width(ValueId id) const { return tables()[id].width; }
  float* value(ValueId id) const {
    return reinterpret_cast<float*>(values[static_cast<size_t>(id.index)]) + first_row * width(id);
  }
  int32_t* ids(ValueId id) const {
    return reinterpret_cast<int32_t*>(values[static_cast<size_t>(id.index)]) + first_row * width(id);
  }
  std::byte* state(StateId id) const { return states[static_cast<size_t>(id.index)]; }
  // The row of a position in a state that is kept in rows (Planner::rows_of).
  std::byte* state_row(StateId id, uint64_t position) const { return state(id) + position * tables()[id].bytes(1); }
  // The place of a head in a cache (layout: cpu/kernels.h).
  std::byte* cache_head(StateId id, uint64_t head) const {
    return state(id) + head * caches[static_cast<size_t>(id.index)].head_bytes;
  }
  const Matrix& matrix(WeightId id) const { return matrices[static_cast<size_t>(id.index)]; }
  const Matrix& lookup(WeightId id) const { return lookups[static_cast<size_t>(id.index)]; }
  // nullptr for an absent weight.
  const float* vector(WeightId id) const { return id ? vectors[static_cast<size_t>(id.index)] : nullptr; }
  const RopeRows& rope(const RopeTable* table) const {
    const auto found = std::find_if(ropes.begin(), ropes.end(), [&](const RopeRows& r) { return r.table == table; });
    CHECK(found != ropes.end());
    return *found;
  }
};

// One thread's part in a step.
class Worker {
 public:
  // How far the items of each thread's span have been taken, for the phases between two syncs in turn.
  struct alignas(64) Taken {
    std::atomic<uint64_t> items[2]{};
    uint32_t phase = 0;  // of the owning thread
  };
  struct Shared {
    explicit Shared(int n_threads) : barrier(n_threads), taken(static_cast<size_t>(n_threads)) {}
    Barrier barrier;
    std::vector<Taken> taken;  // per thread
  };
  Worker(Shared& shared, int thread, int n_threads, std::byte* scratch)
      : scratch(scratch), shared_(shared), thread_(thread), n_threads_(n_threads) {}

  std::byte* const scratch;  // this thread's own
  Later later;               // what this thread reads in the next op beside weights

  // Where this thread will begin to read weights in the next op that multiplies; nullptr where that is not known.
  const std::byte* next_weights() const { return next_weights_.data(); }
  // `next`: what lies there. While the thread waits for others it reads the first of it into its caches.
  void expect_weights(std::span<const std::byte> next) {
    constexpr uint64_t kMostBytes = 256 << 10;
    if (next.data() != next_weights_.data()) unread_ = next.first(std::min<uint64_t>(next.size(), kMostBytes));
    next_weights_ = next;
  }

  int n_threads() const { return n_threads_; }
  bool first() const { return thread_ == 0; }

  // f(i) for every i < n, each on some thread, taken `grain` at a time. Each thread has a span of neighbouring items:
  // weights are then read in long runs, and what is fetched ahead is used by the same thread. A thread that is through
  // goes on with what the others have left. At most once between two syncs.
  template <class F>
  void share(uint64_t n, uint64_t grain, const F& f) {
    if (n_threads_ == 1) {
      for (uint64_t i = 0; i < n; ++i) f(i);
      return;
    }
    const uint32_t turn = own().phase % 2;
    for (int k = 0; k < n_threads_; ++k) {
      const int owner = (thread_ + k) % n_threads_;
      const auto [begin, end] = span(n, owner, n_threads_);
      std::atomic<uint64_t>& taken = shared_.taken[static_cast<size_t>(owner)].items[turn];
      for (;;) {
        const uint64_t from = begin + taken.fetch_add(grain, std::memory_order_relaxed);
        if (from >= end) break;
        for (uint64_t i = from; i < std::min(from + grain, end); ++i) f(i);
      }
    }
  }
  // f(begin, end) for runs of neighbouring items of item_bytes of weights, each item once. A thread takes most of its
  // span at once, then half of what is left: every taking waits until all loads under way have arrived. It leaves the
  // last of another's span to its owner: reading so little from a new place (about 1 us until the hardware follows)
  // takes longer than waiting for it. At most once between two syncs, instead of share().
  template <class F>
  void share_runs(uint64_t n, uint64_t item_bytes, const F& f) {
    constexpr uint64_t kLastBytes = 48 << 10;
    if (n_threads_ == 1) return f(0, n);
    const uint32_t turn = own().phase % 2;
    for (int k = 0; k < n_threads_; ++k) {
      const int owner = (thread_ + k) % n_threads_;
      const auto [begin, end] = span(n, owner, n_threads_);
      const uint64_t size = end - begin, last = std::max<uint64_t>(1, std::min(kLastBytes / item_bytes, size / 8));
      std::atomic<uint64_t>& taken = shared_.taken[static_cast<size_t>(owner)].items[turn];
      for (;;) {
        const uint64_t before = begin + taken.load(std::memory_order_relaxed);
        if (before >= end || (k > 0 && end - before <= last)) break;
        const uint64_t left = end - before;
        const uint64_t count = left <= last ? left : left > size / 4 ? left - left / 8 : left / 2;
        const uint64_t from = begin + taken.fetch_add(count, std::memory_order_relaxed);
        if (from >= end) break;
        f(from, std::min(from + count, end));
      }
    }
  }
  // The beginning and the end of this thread's span of n items.
  uint64_t span_begin(uint64_t n) const { return span(n, thread_, n_threads_).first; }
  uint64_t span_end(uint64_t n) const { return span(n, thread_, n_threads_).second; }
  // All threads meet; afterwards each sees what the others wrote, and share() starts anew.
  void sync() {
    sync([] {});
  }
  // The last thread to arrive runs `last` before any goes on.
  template <class F>
  void sync(const F& last) {
    if (n_threads_ == 1) return last();
    // The counters of the phase before last: nobody has looked at them since the last sync, nobody will before the
    // next.
    own().items[(own().phase + 1) % 2].store(0, std::memory_order_relaxed);
    ++own().phase;
    shared_.barrier.wait(last, [this] { read_some(); });
  }

  // The items begin .. end - 1 of n that are a thread's span.
  static std::pair<uint64_t, uint64_t> span(uint64_t n, int thread, int n_threads) {
    const auto i = static_cast<uint64_t>(thread), of = static_cast<uint64_t>(n_threads);
    return {n * i / of, n * (i + 1) / of};
  }

 private:
  // Loads, not prefetches: the core drops those beyond the misses that it can have under way.
  void read_some() {
    constexpr uint64_t kBytes = 512, kLine = 64;
    if (unread_.size() < kBytes) return;
    for (uint64_t i = 0; i < kBytes; i += kLine)
      static_cast<void>(*static_cast<const volatile std::byte*>(&unread_[i]));
    unread_ = unread_.subspan(kBytes);
  }
  Taken& own() { return shared_.taken[static_cast<size_t>(thread_)]; }

  Shared& shared_;
  const int thread_;
  const int n_threads_;
  std::span<const std::byte> next_weights_;
  std::span<const std::byte> unread_;  // what of it is still to be read
};

// Collects what the ops of a program need before anything is allocated.
struct Planner {
  const Program* program = nullptr;
  CompileOptions options;
  std::vector<bool> matrices;      // per WeightId
  std::vector<bool> lookups;       // per WeightId
  std::vector<bool> vectors;       // per WeightId
  std::vector<WeightId> partners;  // per WeightId: the matrix that is read in turn with it, if any
  std::vector<Cache> caches;       // per StateId: head_dim 0 where no op reads it
  std::vector<std::shared_ptr<const RopeTable>> ropes;
  uint64_t scratch_bytes = 0;         // largest of the ops
  uint64_t thread_scratch_bytes = 0;  // per thread

  const Tables& tables() const { return program->tables; }
  uint64_t max_rows(ValueId id) const {
    return tables()[id].rows == Rows::kTokens ? options.max_tokens : options.max_outputs;
  }
  void matrix(WeightId id) { matrices[static_cast<size_t>(id.index)] = true; }
  // Two matrices of which a thread multiplies the same rows with the same vectors.
  void pair(WeightId a, WeightId b) {
    if (!partner(a) && !partner(b)) partner(a) = b, partner(b) = a;
  }
  void lookup(WeightId id) { lookups[static_cast<size_t>(id.index)] = true; }
  void vector(WeightId id) {
    if (id) vectors[static_cast<size_t>(id.index)] = true;
  }
  void caches_of(StateId k, StateId v, uint64_t head_dim) {
    cache(k, head_dim, true);
    cache(v, head_dim, false);
  }
  void rows_of(StateId id) {
    Cache& c = caches[static_cast<size_t>(id.index)];
    CHECK(c.head_dim == 0);
    c.rows = true;
  }
  void rope(const std::shared_ptr<const RopeTable>& table) {
    if (std::find(ropes.begin(), ropes.end(), table) == ropes.end()) ropes.push_back(table);
  }
  void scratch(uint64_t bytes) { scratch_bytes = std::max(scratch_bytes, bytes); }
  void thread_scratch(uint64_t bytes) { thread_scratch_bytes = std::max(thread_scratch_bytes, bytes); }

 private:
  WeightId& partner(WeightId id) { return partners[static_cast<size_t>(id.index)]; }
  void cache(StateId id, uint64_t head_dim, bool keys) {
    Cache& c = caches[static_cast<size_t>(id.index)];
    CHECK(!c.rows && (c.head_dim == 0 || (c.head_dim == head_dim && c.keys == keys)));
    c = {.head_dim = head_dim, .keys = keys};
  }
};

}  // namespace stretto::cpu
