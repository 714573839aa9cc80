#include "program/plan.h"

#include <algorithm>

#include "base/checked.h"

namespace stretto {
namespace {

constexpr uint64_t kAlign = 64;

struct Lifetime {
  int first = -1;
  int last = -1;
};

// First and last node that touch each value.
struct LifetimeVisitor : TensorVisitor {
  std::vector<Lifetime> lives;
  int node = 0;
  void in(std::string_view, ValueId& id) { touch(id); }
  void out(std::string_view, ValueId& id) { touch(id); }
  void touch(ValueId id) {
    if (!id) return;
    Lifetime& l = lives[static_cast<size_t>(id.index)];
    if (l.first < 0) l.first = node;
    l.last = node;
  }
};

// What enters or leaves a run of nodes that is taken token by token lives throughout it: a later token still needs its
// row of an input, an earlier one has written its row of an output. What stays inside is dead between tokens.
void span_sequences(const std::vector<Node>& nodes, std::vector<Lifetime>& lives) {
  for (size_t begin = 0; begin < nodes.size(); begin = sequence_end(nodes, begin)) {
    if (!nodes[begin].sequential) continue;
    const int first = static_cast<int>(begin), last = static_cast<int>(sequence_end(nodes, begin)) - 1;
    for (Lifetime& l : lives) {
      const bool enters = l.first < first && l.last >= first, leaves = l.last > last && l.first <= last;
      if (enters) l.last = std::max(l.last, last);
      if (leaves) l.first = std::min(l.first, first);
    }
  }
}

struct Placed {
  uint64_t begin, end;
  Lifetime life;
};

// The lowest gap among the already placed buffers whose lifetime meets `life`.
uint64_t first_fit(const std::vector<Placed>& placed, Lifetime life, uint64_t size) {
  std::vector<Placed> live;
  for (const Placed& p : placed)
    if (p.life.first <= life.last && life.first <= p.life.last) live.push_back(p);
  std::sort(live.begin(), live.end(), [](const Placed& a, const Placed& b) { return a.begin < b.begin; });
  uint64_t at = 0;
  for (const Placed& p : live) {
    if (p.begin >= at + size) break;
    at = std::max(at, p.end);
  }
  return at;
}

// Latest phase that wrote each value and state.
struct PhaseVisitor : TensorVisitor {
  std::vector<int> value_phase, state_phase;
  int needs = 0;
  std::vector<int*> writes;
  void in(std::string_view, ValueId& id) {
    if (id) needs = std::max(needs, value_phase[static_cast<size_t>(id.index)]);
  }
  void out(std::string_view, ValueId& id) { writes.push_back(&value_phase[static_cast<size_t>(id.index)]); }
  void state_in(std::string_view, StateId& id) { needs = std::max(needs, state_phase[static_cast<size_t>(id.index)]); }
  void state_out(std::string_view, StateId& id) { writes.push_back(&state_phase[static_cast<size_t>(id.index)]); }
};

// A sequential node reads its weights anew for every token.
Cost cost_of(const Program& program, const Node& node, const StepShape& step) {
  return std::visit(
      [&](const auto& op) {
        if (!node.sequential) return op.cost(program.tables, step);
        Cost sum;
        for (uint64_t t = 0; t < step.n_tokens; ++t)
          sum += op.cost(program.tables, {.n_tokens = 1, .n_outputs = 0, .position = step.position + t});
        return sum;
      },
      node.op);
}

}  // namespace

BufferPlan plan_buffers(const Program& program, const StepShape& largest_step) {
  LifetimeVisitor visitor;
  visitor.lives.resize(program.tables.values.size());
  for (const Node& node : program.nodes) {
    visit_tensors(node.op, visitor);
    ++visitor.node;
  }
  // The logits are read after the last op.
  visitor.lives[static_cast<size_t>(program.logits.index)].last = visitor.node;
  span_sequences(program.nodes, visitor.lives);

  std::vector<size_t> order;
  for (size_t i = 0; i < visitor.lives.size(); ++i)
    if (visitor.lives[i].first >= 0) order.push_back(i);
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return visitor.lives[a].first < visitor.lives[b].first; });

  BufferPlan plan;
  plan.offset.assign(visitor.lives.size(), 0);
  std::vector<Placed> placed;
  for (const size_t i : order) {
    const Lifetime life = visitor.lives[i];
    std::erase_if(placed, [&](const Placed& p) { return p.life.last < life.first; });
    const uint64_t size = round_up(value_bytes(program.tables, {static_cast<int32_t>(i)}, largest_step), kAlign);
    const uint64_t at = first_fit(placed, life, size);
    plan.offset[i] = at;
    plan.bytes = std::max(plan.bytes, at + size);
    placed.push_back({at, at + size, life});
  }
  return plan;
}

MemoryPlan plan_memory(const Program& program, uint64_t n_ctx, const StepShape& largest_step) {
  MemoryPlan plan;
  for (const WeightInfo& w : program.tables.weights) plan.weights += w.bytes();
  for (const StateInfo& s : program.tables.states) plan.state += s.bytes(n_ctx);
  plan.activations = plan_buffers(program, largest_step).bytes;
  return plan;
}

uint64_t largest_context(const Program& program, const StepShape& largest_step, uint64_t available) {
  const MemoryPlan fixed = plan_memory(program, 0, largest_step);
  uint64_t per_position = 0;
  for (const StateInfo& s : program.tables.states)
    if (s.growth == Growth::kPerPosition) per_position += s.bytes(1);
  if (fixed.total() >= available) return 0;
  return per_position == 0 ? UINT32_MAX : (available - fixed.total()) / per_position;
}

Accounting account(const Program& program, const StepShape& step) {
  Accounting a;
  a.launches = program.nodes.size();
  PhaseVisitor phases;
  phases.value_phase.assign(program.tables.values.size(), 0);
  phases.state_phase.assign(program.tables.states.size(), 0);
  for (const Node& node : program.nodes) {
    phases.needs = 0;
    phases.writes.clear();
    visit_tensors(node.op, phases);
    a.phase.push_back(phases.needs + 1);
    for (int* written : phases.writes) *written = a.phase.back();
    a.n_phases = std::max(a.n_phases, a.phase.back());
    a.per_node.push_back(cost_of(program, node, step));
    a.total += a.per_node.back();
  }
  return a;
}

}  // namespace stretto
