#include "cpu/executable.h"

#include <cmath>

#include "cpu/ops.h"
#include "formats/cache_formats.h"
#include "program/plan.h"

namespace stretto::cpu {
namespace {

constexpr uint64_t kAlign = Cursor::kAlign;

}  // namespace

CpuExecutable::CpuExecutable(Program program, const CompileOptions& options, const Isa& isa, int n_threads)
    : program_(std::move(program)), options_(options), isa_(isa), pool_(n_threads), shared_(n_threads) {
  machine_.program = &program_;
  machine_.n_ctx = options.n_ctx;
  machine_.vec = vector_kernels(isa);
  const Planner planner = plan();
  const BufferPlan buffers =
      plan_buffers(program_, {.n_tokens = options.max_tokens, .n_outputs = options.max_outputs, .position = 0});
  activations_ = Arena(buffers.bytes, "activations");
  for (const uint64_t offset : buffers.offset) machine_.values.push_back(activations_.data() + offset);
  op_scratch_bytes_ = round_up(planner.scratch_bytes, kAlign);
  thread_scratch_bytes_ = round_up(planner.thread_scratch_bytes, 2 * kAlign);
  scratch_ = Arena(op_scratch_bytes_ + thread_scratch_bytes_ * static_cast<uint64_t>(n_threads), "scratch");
  machine_.scratch = scratch_.data();
  place_state(planner);
  place_ropes(planner);
  place_weights(planner);
  find_next_weights();
}

Planner CpuExecutable::plan() const {
  const Tables& t = program_.tables;
  Planner planner;
  planner.program = &program_;
  planner.options = options_;
  planner.matrices.resize(t.weights.size());
  planner.lookups.resize(t.weights.size());
  planner.vectors.resize(t.weights.size());
  planner.whole.resize(t.weights.size());
  planner.partners.resize(t.weights.size());
  planner.caches.resize(t.states.size());
  for (const Node& node : program_.nodes) {
    std::visit(
        [&]<class T>(const T& op) {
          if constexpr (requires { cpu::plan(op, planner); }) {
            cpu::plan(op, planner);
          } else {
            CHECK(!"an op without a CPU kernel was not expanded");
          }
        },
        node.op);
  }
  return planner;
}

namespace {

// Bytes of a state, with its place per head where it is a cache.
uint64_t lay_out(const StateInfo& state, uint64_t n_ctx, Cache& cache) {
  if (cache.rows || state.growth != Growth::kPerPosition || !is_cache_type(state.type)) return state.bytes(n_ctx);
  if (cache.head_dim == 0) cache.head_dim = state.width;  // written, read by nobody
  const uint64_t positions = round_up(n_ctx, kCacheGroup);
  cache.position_bytes = row_bytes(state.type, cache.keys ? cache.head_dim : cache_width(cache.head_dim));
  cache.head_bytes = positions * cache.position_bytes;
  return state.width / cache.head_dim * cache.head_bytes;
}

}  // namespace

void CpuExecutable::place_state(const Planner& planner) {
  const std::vector<StateInfo>& states = program_.tables.states;
  machine_.caches = planner.caches;
  std::vector<uint64_t> sizes;
  uint64_t bytes = 0;
  for (size_t i = 0; i < states.size(); ++i) {
    sizes.push_back(lay_out(states[i], options_.n_ctx, machine_.caches[i]));
    bytes += round_up(sizes.back(), kAlign);
  }
  state_ = Arena(bytes, "the state (KV cache)");
  Cursor cursor(state_.data());
  machine_.attentions.resize(states.size());
  for (size_t i = 0; i < states.size(); ++i) {
    machine_.states.push_back(cursor.take(sizes[i]));
    if (machine_.caches[i].head_dim != 0) machine_.attentions[i] = attention_kernels(states[i].type, isa_);
  }
}

void CpuExecutable::place_ropes(const Planner& planner) {
  uint64_t bytes = 0;
  const uint64_t n = options_.max_tokens * sizeof(float);
  for (const auto& table : planner.ropes)
    bytes += 2 * round_up(table->inv_freq.size() * n, kAlign) + round_up(n, kAlign);
  ropes_ = Arena(bytes, "rope tables");
  Cursor cursor(ropes_.data());
  for (const auto& table : planner.ropes) {
    const uint64_t pairs = table->inv_freq.size();
    machine_.ropes.push_back({.table = table.get(),
                              .cos = reinterpret_cast<float*>(cursor.take(pairs * n)),
                              .sin = reinterpret_cast<float*>(cursor.take(pairs * n)),
                              .temperature = reinterpret_cast<float*>(cursor.take(n))});
  }
}

// Angles in float64: float32 angles lose 6e-3 rad at position 131071.
void CpuExecutable::fill_ropes(Worker& worker) {
  const uint64_t n_tokens = machine_.n_tokens();
  worker.share(machine_.ropes.size() * n_tokens, 1, [&](uint64_t item) {
    const RopeRows& rows = machine_.ropes[item / n_tokens];
    const RopeTable& table = *rows.table;
    const uint64_t t = item % n_tokens, n = rows.n_pairs();
    const auto position = static_cast<double>(machine_.step.position + t);
    for (uint64_t i = 0; i < n; ++i) {
      const double angle = position * table.inv_freq[i];
      rows.cos[t * n + i] = static_cast<float>(std::cos(angle) * table.mscale);
      rows.sin[t * n + i] = static_cast<float>(std::sin(angle) * table.mscale);
    }
    rows.temperature[t] =
        static_cast<float>(1 + table.temperature_beta * std::log(1 + std::floor(position / table.temperature_context)));
  });
}

void CpuExecutable::find_next_weights() {
  const auto n_threads = static_cast<size_t>(pool_.size());
  next_weights_.resize(program_.nodes.size() * n_threads);
  for (size_t t = 0; t < n_threads; ++t) {
    std::span<const std::byte> next;
    for (size_t i = program_.nodes.size(); i-- > 0;) {
      next_weights_[i * n_threads + t] = next;
      std::visit(
          [&]<class T>(const T& op) {
            if constexpr (requires { cpu::first_weights(op, machine_, 0, 1); })
              next = cpu::first_weights(op, machine_, static_cast<int>(t), pool_.size());
          },
          program_.nodes[i].op);
    }
  }
}

void CpuExecutable::run_thread(int thread) {
  std::byte* const own = scratch_.data() + op_scratch_bytes_ + static_cast<uint64_t>(thread) * thread_scratch_bytes_;
  Worker worker(shared_, thread, pool_.size(), own);
  if (!machine_.ropes.empty()) fill_ropes(worker);
  worker.sync([this] { stamp(0); });
  const uint64_t n_tokens = step_.tokens.size();
  for (size_t i = 0; i < program_.nodes.size();) {
    const size_t end = sequence_end(program_.nodes, i);
    if (!program_.nodes[i].sequential || n_tokens == 1) {
      for (; i < end; ++i) run_node(i, thread, worker);
      continue;
    }
    for (uint64_t t = 0; t < n_tokens; ++t) {
      worker.sync([this, t] { take_token(t); });
      for (size_t k = i; k < end; ++k) run_node(k, thread, worker);
    }
    worker.sync([this] { take_all_tokens(); });
    i = end;
  }
}

void CpuExecutable::run_node(size_t i, int thread, Worker& worker) {
  const size_t at = i * static_cast<size_t>(pool_.size()) + static_cast<size_t>(thread);
  const bool single = machine_.n_tokens() == 1;
  worker.expect_weights(single ? next_weights_[at] : std::span<const std::byte>());
  worker.later.clear();
  if (single && i + 1 < program_.nodes.size()) {
    std::visit(
        [&]<class T>(const T& op) {
          if constexpr (requires { cpu::add_later(op, machine_, worker); }) cpu::add_later(op, machine_, worker);
        },
        program_.nodes[i + 1].op);
  }
  std::visit(
      [&]<class T>(const T& op) {
        if constexpr (requires { cpu::run(op, machine_, worker); }) cpu::run(op, machine_, worker);
      },
      program_.nodes[i].op);
  worker.sync([this, i] { stamp(i + 1); });
}

void CpuExecutable::take_token(uint64_t t) {
  machine_.step = {.tokens = step_.tokens.subspan(t, 1), .position = step_.position + t, .outputs = {}};
  machine_.first_row = t;
}

void CpuExecutable::take_all_tokens() {
  machine_.step = step_;
  machine_.first_row = 0;
}

std::span<const float> CpuExecutable::run(const Step& step) {
  CHECK(!step.tokens.empty() && step.tokens.size() <= options_.max_tokens);
  CHECK(step.outputs.size() <= options_.max_outputs && step.position + step.tokens.size() <= options_.n_ctx);
  step_ = step;
  take_all_tokens();
  pool_.run([this](int thread) { run_thread(thread); });
  const ValueId logits = program_.logits;
  return {machine_.value(logits), machine_.rows(logits) * machine_.width(logits)};
}

uint64_t CpuExecutable::memory_bytes() const {
  return weights_.bytes() + state_.bytes() + activations_.bytes() + scratch_.bytes() + ropes_.bytes();
}

}  // namespace stretto::cpu
