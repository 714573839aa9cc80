// RouterTopK, ExpertLinear, ExpertSum: mixture of experts.
//
// ExpertLinear groups the step's (row, choice) pairs by expert, so that each weight row that is used at all is read
// once per step, and divides the used experts' rows among the threads.
#include <cmath>

#include "cpu/ops.h"
#include "cpu/products.h"

namespace stretto::cpu {
namespace {

void route_row(const RouterTopK& op, const float* logits, uint64_t n, int32_t* ids, float* weights) {
  double top = -HUGE_VAL, all = 0, chosen = 0;
  for (uint64_t i = 0; i < n; ++i) top = std::max<double>(top, logits[i]);
  for (uint64_t i = 0; i < n; ++i) all += std::exp(logits[i] - top);
  for (uint64_t j = 0; j < op.top_k; ++j) {
    int32_t best = -1;  // the first of equals; not-a-number loses to everything
    for (uint64_t i = 0; i < n; ++i) {
      const auto candidate = static_cast<int32_t>(i);
      if (std::find(ids, ids + j, candidate) != ids + j) continue;
      if (best < 0 || logits[i] > logits[best] || (std::isnan(logits[best]) && !std::isnan(logits[i])))
        best = candidate;
    }
    ids[j] = best;
    const double p = std::exp(logits[best] - top) / all;
    chosen += p;
    weights[j] = static_cast<float>(p);
  }
  const double factor = op.scale / (op.renormalise ? std::max(chosen, kRouterSumFloor) : 1.0);
  for (uint64_t j = 0; j < op.top_k; ++j)
    weights[j] = static_cast<float>(std::exp(logits[ids[j]] - top) / all * factor);
}

// The pairs of a step by expert: pairs[begin[e] .. begin[e + 1]) are those of expert e; used lists experts with any.
struct Groups {
  uint32_t* begin = nullptr;  // [n_experts + 1]
  uint32_t* used = nullptr;   // [n_experts]
  uint32_t* n_used = nullptr;
  uint32_t* pairs = nullptr;  // [rows * top_k], row * top_k + choice

  static uint64_t bytes(uint64_t n_experts, uint64_t n_pairs) {
    return round_up((2 * n_experts + 2 + n_pairs) * sizeof(uint32_t), 64);
  }
  Groups(std::byte* memory, uint64_t n_experts) {
    begin = reinterpret_cast<uint32_t*>(memory);
    used = begin + n_experts + 1;
    n_used = used + n_experts;
    pairs = n_used + 1;
  }
  // A counting sort of ids[n_pairs].
  void fill(const int32_t* ids, uint64_t n_pairs, uint64_t n_experts) const {
    std::fill(begin, begin + n_experts + 1, 0);
    for (uint64_t i = 0; i < n_pairs; ++i) ++begin[ids[i] + 1];
    *n_used = 0;
    for (uint64_t e = 0; e < n_experts; ++e) {
      if (begin[e + 1] != 0) used[(*n_used)++] = static_cast<uint32_t>(e);
      begin[e + 1] += begin[e];
    }
    for (uint64_t i = n_pairs; i-- > 0;) pairs[--begin[ids[i] + 1]] = static_cast<uint32_t>(i);
    // Placing moved every boundary down by one expert.
    for (uint64_t e = 0; e < n_experts; ++e) begin[e] = begin[e + 1];
    begin[n_experts] = static_cast<uint32_t>(n_pairs);
  }
};

}  // namespace

bool supports(const RouterTopK&, const Tables&) { return true; }

void plan(const RouterTopK&, Planner&) {}

void run(const RouterTopK& op, const Machine& m, Worker& w) {
  const uint64_t n = m.width(op.logits);
  w.share(m.rows(op.logits), 1, [&](uint64_t r) {
    route_row(op, m.value(op.logits) + r * n, n, m.ids(op.ids) + r * op.top_k, m.value(op.weights) + r * op.top_k);
  });
}

bool supports(const ExpertLinear& op, const Tables& t) { return multiplies(op.w, t); }

void plan(const ExpertLinear& op, Planner& p) {
  const Tables& t = p.tables();
  const uint64_t n_pairs = p.max_rows(op.x) * op.top_k(t);
  p.whole_matrix(op.w);
  p.scratch(Groups::bytes(t[op.w].shape[0], n_pairs) + quantized_bytes(n_pairs, op.n_in(t)));
}

void run(const ExpertLinear& op, const Machine& m, Worker& w) {
  const Tables& t = m.tables();
  const uint64_t n_experts = t[op.w].shape[0], n_out = op.n_out(t), n_in = op.n_in(t), k = op.top_k(t);
  const uint64_t n_pairs = m.rows(op.x) * k;
  const Matrix& matrix = m.matrix(op.w);
  const Groups groups(m.scratch, n_experts);
  std::byte* quantized = m.scratch + Groups::bytes(n_experts, n_pairs);
  if (w.first()) groups.fill(m.ids(op.ids), n_pairs, n_experts);
  const bool shared = op.shared(t);
  const Vectors x{.floats = m.value(op.x), .quantized = quantized, .n = shared ? n_pairs / k : n_pairs, .width = n_in};
  if (matrix.integer) quantize_vectors(m, w, x.floats, x.n, n_in, quantized);
  w.sync();

  const uint64_t n_used = *groups.n_used;
  const uint64_t chunk = rows_per_chunk(matrix, n_used * n_out, 1, w.n_threads()), n_chunks = div_up(n_out, chunk);
  w.share(n_used * n_chunks, 1, [&](uint64_t item) {
    const uint64_t expert = groups.used[item / n_chunks], first = item % n_chunks * chunk;
    const uint32_t* pairs = groups.pairs + groups.begin[expert];
    multiply_rows(
        matrix, expert * n_out + first, std::min(chunk, n_out - first), groups.begin[expert + 1] - groups.begin[expert],
        {}, [&](uint64_t i) { return x.at(matrix, shared ? pairs[i] / k : pairs[i]); },
        [&](uint64_t i) { return m.value(op.out) + pairs[i] * n_out + first; }, [](uint64_t, uint64_t) {});
  });
}

bool supports(const ExpertSum&, const Tables&) { return true; }

void plan(const ExpertSum&, Planner&) {}

void run(const ExpertSum& op, const Machine& m, Worker& w) {
  const uint64_t width = m.width(op.out), k = m.width(op.weights);
  w.share(m.rows(op.out), 1, [&](uint64_t r) {
    const float* weights = m.value(op.weights) + r * k;
    const float* x = m.value(op.x) + r * k * width;
    float* out = m.value(op.out) + r * width;
    m.vec.scale(weights[0], x, width, out);
    for (uint64_t j = 1; j < k; ++j) m.vec.add_scaled(weights[j], x + j * width, width, out);
  });
}

}  // namespace stretto::cpu
