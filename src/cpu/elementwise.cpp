// RmsNorm, Add, GatedAct: divided among the threads by groups or by runs of elements.
#include "cpu/ops.h"

namespace stretto::cpu {
namespace {

constexpr uint64_t kElementsPerShare = 4096;

// f(first, count) over runs of n elements.
template <class F>
void share_elements(Worker& w, uint64_t n, const F& f) {
  w.share(div_up(n, kElementsPerShare), 1, [&](uint64_t part) {
    const uint64_t first = part * kElementsPerShare;
    f(first, std::min(kElementsPerShare, n - first));
  });
}

}  // namespace

bool supports(const RmsNorm& op, const Tables& t) { return decodes(op.weight, t); }

void plan(const RmsNorm& op, Planner& p) { p.vector(op.weight); }

void run(const RmsNorm& op, const Machine& m, Worker& w) {
  const uint64_t n_groups = m.rows(op.x) * m.width(op.x) / op.group;
  w.share(n_groups, div_up(512, op.group), [&](uint64_t g) {
    m.vec.rms_norm(m.value(op.x) + g * op.group, m.vector(op.weight), op.eps, op.group, m.value(op.out) + g * op.group);
  });
}

bool supports(const Add&, const Tables&) { return true; }

void plan(const Add&, Planner&) {}

void run(const Add& op, const Machine& m, Worker& w) {
  share_elements(w, m.rows(op.out) * m.width(op.out), [&](uint64_t first, uint64_t n) {
    m.vec.add(m.value(op.a) + first, m.value(op.b) + first, n, m.value(op.out) + first);
  });
}

bool supports(const GatedAct&, const Tables&) { return true; }

void plan(const GatedAct&, Planner&) {}

void run(const GatedAct& op, const Machine& m, Worker& w) {
  share_elements(w, m.rows(op.out) * m.width(op.out), [&](uint64_t first, uint64_t n) {
    m.vec.gated_act(op.act, m.value(op.gate) + first, m.value(op.up) + first, n, m.value(op.out) + first);
  });
}

}  // namespace stretto::cpu
