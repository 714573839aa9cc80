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
#include "cpu/fetch.h"
#include "cpu/kernels.h"

namespace stretto::cpu {

// Neighbouring rows of a matrix that lie together: those of one thread's span.
struct Piece {
  uint64_t first_row = 0;
  std::span<const std::byte> data;  // from the first row on, with what the thread reads in the ops behind it
};

// A weight as rows to multiply with.
struct Matrix {
  const std::byte* data = nullptr;  // of the first row
  std::span<const Piece> pieces{};  // per thread; empty: all rows lie together
  DType type = DType::kF32;
  uint64_t n_in = 0;
  uint64_t n_rows = 0;     // all leading dimensions joined
  uint64_t row_bytes = 0;  // from a row to the next; of packed rows a sixteenth of the way from a group to the next
  TileKernel kernel = nullptr;
  TileKernel many = nullptr;  // for kLeastMany to kManyVectors vectors (cpu/packed.h); may be nullptr
  bool integer = false;       // multiplies operands (cpu/kernels.h), else float32 vectors
  uint64_t tile = kTile;      // most vectors of one call of the kernel
  uint64_t row_step = 1;      // rows are taken from multiples of this: kGroupRows where packed (cpu/packed.h)

  struct Run {
    const std::byte* data = nullptr;
    uint64_t n_rows = 0;
  };
  // Of n vectors, those of the next call of a kernel.
  uint64_t next_tile(uint64_t n) const { return std::min(n, takes_many(n) ? kManyVectors : tile); }
  bool takes_many(uint64_t n) const { return many != nullptr && n >= kLeastMany; }
  // The row, a multiple of row_step, and the rows that lie behind it.
  Run run_from(uint64_t row) const {
    if (pieces.empty()) return {data + row * row_bytes, n_rows - row};
    size_t i = pieces.size() - 1;
    while (pieces[i].first_row > row) --i;
    const uint64_t end = i + 1 < pieces.size() ? pieces[i + 1].first_row : n_rows;
    return {pieces[i].data.data() + (row - pieces[i].first_row) * row_bytes, end - row};
  }
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
  // Through which a thread that is through with its items asks another, the owner, for some of what that has left. One
  // thread asks at a time: kNone -> kAsked -> kAnswered -> kNone, or back to kNone when it gives up.
  struct alignas(64) Request {
    enum State : uint32_t { kNone, kAsked, kAnswered };
    std::atomic<uint32_t> state{kNone};
    uint64_t begin = 0, end = 0;  // the answer: items begin .. end - 1
    // How many times the owner has been through with its own items; on a line that it does not read while it works.
    alignas(64) std::atomic<uint32_t> n_finished{0};
  };
  struct Shared {
    explicit Shared(int n_threads)
        : barrier(n_threads),
          taken(static_cast<size_t>(n_threads)),
          requests(static_cast<size_t>(n_threads)),
          n_spins(spins_for(n_threads)),
          fetch(fetch_of_machine()) {}
    Barrier barrier;
    std::vector<Taken> taken;       // per thread
    std::vector<Request> requests;  // per owner
    const int n_spins;
    const Fetch fetch;
  };
  Worker(Shared& shared, int thread, int n_threads, std::byte* scratch)
      : scratch(scratch),
        shared_(shared),
        thread_(thread),
        n_threads_(n_threads),
        n_shared_(shared.requests[static_cast<size_t>(thread)].n_finished.load(std::memory_order_relaxed)) {}

  std::byte* const scratch;  // this thread's own
  Later later;               // what this thread reads in the next op beside weights

  // Where this thread will begin to read weights in the next op that multiplies; nullptr where that is not known.
  const std::byte* next_weights() const { return next_weights_.data(); }
  // `next`: what lies there. While the thread waits for others it reads the first of it into its caches.
  void expect_weights(std::span<const std::byte> next) {
    constexpr uint64_t kMostBytes = 256 << 10;
    if (next.data() != next_weights_.data()) {
      unread_now_ = unread_;
      unread_ = next.first(std::min<uint64_t>(next.size(), kMostBytes));
    }
    next_weights_ = next;
  }
  // Reads some of the running op's weights ahead: memory would else stand still while a vector is prepared.
  void read_ahead() { read_some(unread_now_); }

  int thread() const { return thread_; }
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
  // Items begin .. end - 1 of those that are the owner's.
  struct Run {
    int owner = 0;
    uint64_t begin = 0;
    uint64_t end = 0;
    Later* later = nullptr;                            // the thread's own, in its own items
    const std::atomic<uint32_t>* interrupt = nullptr;  // f should return soon once it is not 0
  };
  // f(run) for the items of every thread, n_of(owner) of them with item_bytes of weights each; it returns up to where
  // it has done the run: more than nothing, and all without an interrupt. A thread works through its own items in one
  // run and then asks the others for some of theirs. Only who asks executes locked instructions: each would wait until
  // all loads under way have arrived, and so does the end of a run (0.4 us), in the middle of reading weights.
  template <class NOf, class F>
  void share_runs(const NOf& n_of, uint64_t item_bytes, const F& f) {
    const uint64_t n = n_of(thread_);
    if (n_threads_ == 1) return static_cast<void>(f(Run{.end = n, .later = &later}));
    Request& own = shared_.requests[static_cast<size_t>(thread_)];
    for (uint64_t done = 0, end = n; done < end;) {
      if (own.state.load(std::memory_order_acquire) == Request::kAsked)
        end = answer(own, done, end, div_up(kRunBytes, item_bytes));
      done = f(Run{thread_, done, end, &later, &own.state});
    }
    own.n_finished.store(++n_shared_, std::memory_order_release);
    for (int k = 1; k < n_threads_; ++k) {
      const int owner = (thread_ + k) % n_threads_;
      for (;;) {
        const auto [begin, end] = ask(shared_.requests[static_cast<size_t>(owner)]);
        if (begin == end) break;
        f(Run{.owner = owner, .begin = begin, .end = end});
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
  static uint64_t span_size(uint64_t n, int thread, int n_threads) {
    const auto [begin, end] = span(n, thread, n_threads);
    return end - begin;
  }

 private:
  // Of weights that a thread reads without a look at its requests: about 1 us, as long as the memory needs to follow a
  // thread to a new place.
  static constexpr uint64_t kRunBytes = 32 << 10;

  // Gives half of what is left away, less the time that the other needs to begin; nothing where that is too little.
  // Returns the end of what remains.
  static uint64_t answer(Request& own, uint64_t done, uint64_t end, uint64_t least) {
    const uint64_t left = end - done, given = left > 2 * least ? (left - least) / 2 : 0;
    own.begin = end - given;
    own.end = end;
    // Fails where the other has given up. Release: who sees kAnswered sees the items.
    uint32_t asked = Request::kAsked;
    const bool taken = own.state.compare_exchange_strong(asked, Request::kAnswered, std::memory_order_release,
                                                         std::memory_order_relaxed);
    return taken ? own.begin : end;
  }
  std::pair<uint64_t, uint64_t> ask(Request& other) {
    uint32_t state = Request::kNone;
    // The owner has been through as often as this thread: nothing is left. (It cannot be through more often before the
    // next sync.)
    if (other.n_finished.load(std::memory_order_acquire) == n_shared_) return {};
    // Acquire: the last one who asked has read the items before it set kNone. Another who asks now: leave them the
    // rest.
    if (!other.state.compare_exchange_strong(state, Request::kAsked, std::memory_order_acq_rel,
                                             std::memory_order_relaxed))
      return {};
    for (int looks = 0; other.state.load(std::memory_order_acquire) != Request::kAnswered; ++looks) {
      if (looks >= shared_.n_spins || other.n_finished.load(std::memory_order_acquire) == n_shared_) {
        state = Request::kAsked;
        if (other.state.compare_exchange_strong(state, Request::kNone, std::memory_order_acquire)) return {};
        break;  // answered meanwhile
      }
      read_some();
      relax();
    }
    const std::pair<uint64_t, uint64_t> given{other.begin, other.end};
    other.state.store(Request::kNone, std::memory_order_release);
    return given;
  }
  // Ascending by loads, not prefetches: the core drops those beyond the misses that it can have under way. Sixteen
  // lines at a time: eight made a layer 2 % longer, 32 are no better.
  void read_some() { read_some(unread_); }
  void read_some(std::span<const std::byte>& from) const {
    constexpr uint64_t kBytes = 1024;
    if (from.size() < kBytes) return;
    const bool in_turn = shared_.fetch == Fetch::kPagesInTurn;
    for (uint64_t i = 0; i < kBytes; i += kLineBytes) {
      // In turn: as the kernel does at this place, which was itself fetched by what the thread multiplied before.
      if (in_turn) {
        fetch_to_second_level(address_in_turn(reinterpret_cast<uint64_t>(&from[i])));
      } else {
        static_cast<void>(*static_cast<const volatile std::byte*>(&from[i]));
      }
    }
    from = from.subspan(kBytes);
  }
  Taken& own() { return shared_.taken[static_cast<size_t>(thread_)]; }

  Shared& shared_;
  const int thread_;
  const int n_threads_;
  uint32_t n_shared_;  // calls of share_runs, those of earlier steps included
  std::span<const std::byte> next_weights_;
  std::span<const std::byte> unread_;      // what of it is still to be read
  std::span<const std::byte> unread_now_;  // the same of the running op's
};

// Collects what the ops of a program need before anything is allocated.
struct Planner {
  const Program* program = nullptr;
  CompileOptions options;
  std::vector<bool> matrices;      // per WeightId
  std::vector<bool> lookups;       // per WeightId
  std::vector<bool> vectors;       // per WeightId
  std::vector<bool> whole;         // per WeightId: a matrix whose rows must lie together
  std::vector<WeightId> in_order;  // matrices in the order in which a step reads them
  std::vector<WeightId> partners;  // per WeightId: the matrix that is read in turn with it, if any
  std::vector<Cache> caches;       // per StateId: head_dim 0 where no op reads it
  std::vector<std::shared_ptr<const RopeTable>> ropes;
  uint64_t scratch_bytes = 0;         // largest of the ops
  uint64_t thread_scratch_bytes = 0;  // per thread

  const Tables& tables() const { return program->tables; }
  uint64_t max_rows(ValueId id) const {
    return tables()[id].rows == Rows::kTokens ? options.max_tokens : options.max_outputs;
  }
  // A matrix whose rows the op finds with Matrix::run_from.
  void matrix(WeightId id) {
    matrices[static_cast<size_t>(id.index)] = true;
    in_order.push_back(id);
  }
  // One whose rows it expects behind Matrix::data.
  void whole_matrix(WeightId id) {
    matrix(id);
    whole[static_cast<size_t>(id.index)] = true;
  }
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
