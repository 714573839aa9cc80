// The ops of a swap layer (ops/swap_route.h and its neighbours).
#include <cmath>
#include <limits>
#include <numeric>

#include "oracle/interpret.h"

namespace stretto::oracle {
namespace {

std::vector<double> normed(Machine& m, const double* x, WeightId norm, float eps) {
  const std::vector<float> weight = m.weight_row(norm, 0);
  const size_t d = weight.size();
  const double square = std::inner_product(x, x + d, x, 0.0) / static_cast<double>(d);
  std::vector<double> out(d);
  for (size_t i = 0; i < d; ++i) out[i] = x[i] / std::sqrt(square + static_cast<double>(eps)) * weight[i];
  return out;
}

// w u + bias
std::vector<double> logits(Machine& m, WeightId w, WeightId bias, const std::vector<double>& u) {
  std::vector<double> out;
  for (uint64_t r = 0; r < m.tables()[w].shape.rows(); ++r) {
    const std::vector<float>& row = m.weight_row(w, r);
    out.push_back(std::inner_product(row.begin(), row.end(), u.begin(), 0.0));
  }
  const std::vector<float>& b = m.weight_row(bias, 0);
  for (size_t r = 0; r < out.size(); ++r) out[r] += b[r];
  return out;
}

// Index of the largest, the first of equals, and by how much it leads.
struct Choice {
  uint32_t index = 0;
  double lead = std::numeric_limits<double>::infinity();
};
Choice largest(const std::vector<double>& q) {
  Choice c;
  for (uint32_t i = 1; i < q.size(); ++i)
    if (q[i] > q[c.index]) c.index = i;
  for (uint32_t i = 0; i < q.size(); ++i)
    if (i != c.index) c.lead = std::min(c.lead, q[c.index] - q[i]);
  return c;
}

uint32_t map_of(Machine& m, ValueId streams, size_t t) {
  return static_cast<uint32_t>(m.value(streams)[t * kStreamFields]) ^ kStreamOrder;
}

// The decision of token t as the hooks have it: recorded, or forced.
uint32_t decide(Machine& m, const SwapHooks& hooks, size_t t, uint32_t own, double margin) {
  const uint64_t position = m.step.position + t;
  uint32_t decision = own;
  if (hooks.forced && position < m.tables()[hooks.forced].shape.rows())
    decision = static_cast<uint32_t>(m.weight_row(hooks.forced, position)[hooks.column]);
  if (hooks.trace) {
    double* row = &m.state(hooks.trace)[position * m.tables()[hooks.trace].width];
    row[hooks.column] = decision;
    row[hooks.margin_column] = margin;
  }
  return decision;
}

}  // namespace

void interpret(Machine& m, const SwapRoute& op) {
  const uint64_t d = m.tables()[op.v].width;
  for (size_t t = 0; t < m.step.tokens.size(); ++t) {
    const double* v = &m.value(op.v)[t * d];
    const std::vector<double> u = normed(m, v, op.norm, op.eps);
    const Choice bank = largest(logits(m, op.router, op.router_bias, u));
    const std::vector<double> z = logits(m, op.switches, op.switch_bias, u);
    uint32_t switches = 0;
    double margin = bank.lead;
    for (uint32_t j = 0; j < kSwitches; ++j) {
      if (z[j] > 0) switches |= 1U << j;
      margin = std::min(margin, std::abs(z[j]));
    }
    const uint32_t decision = decide(m, op.hooks, t, bank.index << kSwitches | switches, margin);
    const uint32_t map = benes(op.streams ? map_of(m, op.streams, t) : kStreamOrder, decision & 63);
    m.value(op.bank)[t] = decision >> kSwitches;
    m.value(op.streams_out)[t * kStreamFields] = map ^ kStreamOrder;
    const double gate = 1 / (1 + std::exp(-logits(m, op.read, op.read_bias, u)[0]));
    const double* row = op.ram ? &m.value(op.ram)[(t * kStreams + stream_row(map, 0)) * d] : nullptr;
    for (uint64_t i = 0; i < d; ++i) m.value(op.out)[t * d + i] = v[i] + (row != nullptr ? gate * row[i] : 0);
  }
}

void interpret(Machine& m, const SwapWrite& op) {
  const uint64_t d = m.tables()[op.v].width;
  std::vector<double>& out = m.value(op.out);
  if (op.ram) out = m.value(op.ram);
  for (size_t t = 0; t < m.step.tokens.size(); ++t) {
    const uint32_t row = stream_row(map_of(m, op.streams, t), 0);
    for (uint64_t i = 0; i < d; ++i) out[(t * kStreams + row) * d + i] = m.value(op.v)[t * d + i];
  }
}

void interpret(Machine& m, const SwapCollapse& op) {
  const uint64_t d = m.tables()[op.v].width;
  for (size_t t = 0; t < m.step.tokens.size(); ++t) {
    const Choice own = largest(logits(m, op.w, op.bias, normed(m, &m.value(op.v)[t * d], op.norm, op.eps)));
    const uint32_t stream = decide(m, op.hooks, t, own.index, own.lead);
    const uint32_t map = map_of(m, op.streams, t);
    if (op.hooks.trace) {
      const uint64_t width = m.tables()[op.hooks.trace].width;
      m.state(op.hooks.trace)[(m.step.position + t) * width + op.hooks.margin_column + 1] = map;
    }
    const double* row = &m.value(op.ram)[(t * kStreams + stream_row(map, stream)) * d];
    for (uint64_t i = 0; i < d; ++i) m.value(op.out)[t * d + i] = m.value(op.residual)[t * d + i] + row[i];
  }
}

}  // namespace stretto::oracle
