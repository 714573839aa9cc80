// StateRead, StateWrite, SwapRoute, SwapWrite, SwapCollapse: rows of tokens divided among the threads. An event's
// logits are a dozen short dot products beside the megabytes of its bank, so one thread makes them all.
#include <cmath>
#include <cstring>

#include "cpu/ops.h"

namespace stretto::cpu {
namespace {

// out = w x, float32 throughout: w has a kernel for F32 rows.
void dot_rows(const Matrix& w, const float* x, float* out) {
  const auto* const vector = reinterpret_cast<const std::byte*>(x);
  w.kernel({.rows = w.data,
            .row_bytes = w.row_bytes,
            .n_rows = w.n_rows,
            .n_in = w.n_in,
            .x = &vector,
            .out = &out,
            .n = 1});
}

struct Choice {
  uint32_t index = 0;  // of the largest, the first of equals; not-a-number loses to everything
  float lead = HUGE_VALF;
};
Choice largest(const float* q, const float* bias, uint64_t n) {
  Choice c;
  const auto at = [&](uint64_t i) { return q[i] + bias[i]; };
  for (uint64_t i = 1; i < n; ++i)
    if (at(i) > at(c.index) || (std::isnan(at(c.index)) && !std::isnan(at(i)))) c.index = static_cast<uint32_t>(i);
  for (uint64_t i = 0; i < n; ++i)
    if (i != c.index) c.lead = std::min(c.lead, at(c.index) - at(i));
  return c;
}

// The decision of the token at `position` as the hooks have it: recorded, or forced.
uint32_t decide(const Machine& m, const SwapHooks& hooks, uint64_t position, uint32_t own, float margin) {
  uint32_t decision = own;
  if (hooks.forced && position < m.lookup(hooks.forced).n_rows) {
    float recorded = 0;
    const Matrix& table = m.lookup(hooks.forced);
    std::memcpy(&recorded, table.data + position * table.row_bytes + hooks.column * sizeof(float), sizeof(float));
    decision = static_cast<uint32_t>(recorded);
  }
  if (hooks.trace) {
    auto* const row = reinterpret_cast<float*>(m.state_row(hooks.trace, position));
    row[hooks.column] = static_cast<float>(decision);
    row[hooks.margin_column] = margin;
  }
  return decision;
}

constexpr int32_t kBeginning[kStreamFields] = {};  // of the streams

uint32_t map_of(const int32_t* streams) { return static_cast<uint32_t>(streams[0]) ^ kStreamOrder; }

// Brings a vector that stands for out * 2^exponent into the range of ops/swap_streams.h; returns the new exponent.
int normalise(const VectorKernels& vec, float* out, uint64_t n, int exponent) {
  float top = 0;
  for (uint64_t i = 0; i < n; ++i) top = std::max(top, std::abs(out[i]));
  if (exponent == 0 && !(top >= std::ldexp(1.0F, kRowBits))) return 0;
  if (top == 0) return 0;
  if (!std::isfinite(top)) return exponent;
  const int shift = std::max(std::ilogb(top) - (kRowBits - 1), -exponent);
  if (shift != 0) vec.scale(std::ldexp(1.0F, -shift), out, n, out);
  return exponent + shift;
}

// out = v + gate * ram, each with its exponent; ram may be nullptr (zeros). Returns the exponent of out.
int read_row(const VectorKernels& vec, const float* v, int v_exponent, float gate, const float* ram, int ram_exponent,
             uint64_t n, float* out) {
  if (ram == nullptr) ram_exponent = 0;
  const int exponent = std::max(v_exponent, ram_exponent);
  if (v_exponent == exponent) {
    std::copy_n(v, n, out);
  } else {
    vec.scale(std::ldexp(1.0F, v_exponent - exponent), v, n, out);
  }
  if (ram != nullptr) vec.add_scaled(std::ldexp(gate, ram_exponent - exponent), ram, n, out);
  return normalise(vec, out, n, exponent);
}

void plan_hooks(const SwapHooks& hooks, Planner& p) {
  if (hooks.forced) p.lookup(hooks.forced);
  if (hooks.trace) p.rows_of(hooks.trace);
}

}  // namespace

bool supports(const StateRead&, const Tables&) { return true; }

void plan(const StateRead& op, Planner& p) { p.rows_of(op.state); }

void run(const StateRead& op, const Machine& m, Worker& w) {
  const uint64_t width = m.width(op.out), bytes = m.tables()[op.state].bytes(1);
  w.share(m.rows(op.out), 1, [&](uint64_t t) {
    const uint64_t position = m.step.position + t;
    float* const out = m.value(op.out) + t * width;
    if (position >= op.lag) {
      std::memcpy(out, m.state_row(op.state, position - op.lag), bytes);
    } else {
      std::memset(out, 0, bytes);
    }
  });
}

bool supports(const StateWrite&, const Tables&) { return true; }

void plan(const StateWrite& op, Planner& p) { p.rows_of(op.state); }

void run(const StateWrite& op, const Machine& m, Worker& w) {
  const uint64_t width = m.width(op.x), bytes = m.tables()[op.state].bytes(1);
  w.share(m.rows(op.x), 1, [&](uint64_t t) {
    std::memcpy(m.state_row(op.state, m.step.position + t), m.value(op.x) + t * width, bytes);
  });
}

bool supports(const SwapRoute& op, const Tables& t) {
  return decodes(op.norm, t) && decodes(op.router_bias, t) && decodes(op.switch_bias, t) && decodes(op.read_bias, t);
}

void plan(const SwapRoute& op, Planner& p) {
  const Tables& t = p.tables();
  for (const WeightId w : {op.norm, op.router_bias, op.switch_bias, op.read_bias}) p.vector(w);
  for (const WeightId w : {op.router, op.switches, op.read}) p.whole_matrix(w);
  p.thread_scratch((t[op.v].width + op.n_banks(t) + kSwitches + 1) * sizeof(float));
  plan_hooks(op.hooks, p);
}

void run(const SwapRoute& op, const Machine& m, Worker& w) {
  const uint64_t d = m.width(op.v), n_banks = op.n_banks(m.tables());
  auto* const u = reinterpret_cast<float*>(w.scratch);
  float *const banks = u + d, *const z = banks + n_banks, *const gate_logit = z + kSwitches;
  w.share(m.rows(op.v), 1, [&](uint64_t t) {
    const float* const v = m.value(op.v) + t * d;
    m.vec.rms_norm(v, m.vector(op.norm), op.eps, d, u);
    dot_rows(m.matrix(op.router), u, banks);
    dot_rows(m.matrix(op.switches), u, z);
    dot_rows(m.matrix(op.read), u, gate_logit);
    const Choice bank = largest(banks, m.vector(op.router_bias), n_banks);
    uint32_t switches = 0;
    float margin = bank.lead;
    for (uint32_t j = 0; j < kSwitches; ++j) {
      const float logit = z[j] + m.vector(op.switch_bias)[j];
      if (logit > 0) switches |= 1U << j;
      margin = std::min(margin, std::abs(logit));
    }
    const uint32_t decision = decide(m, op.hooks, m.step.position + t, bank.index << kSwitches | switches, margin);
    const int32_t* const before = op.streams ? m.ids(op.streams) + t * kStreamFields : kBeginning;
    int32_t* const after = m.ids(op.streams_out) + t * kStreamFields;
    const uint32_t map = benes(map_of(before), decision & 63), row = stream_row(map, 0);
    const int v_exponent = op.first ? 0 : before[1 + stream_row(map_of(before), 0)];
    m.ids(op.bank)[t] = static_cast<int32_t>(decision >> kSwitches);
    std::copy_n(before, kStreamFields, after);
    after[0] = static_cast<int32_t>(map ^ kStreamOrder);
    const float gate = 1 / (1 + std::exp(-(*gate_logit + *m.vector(op.read_bias))));
    const float* const ram = op.ram ? m.value(op.ram) + (t * kStreams + row) * d : nullptr;
    after[1 + row] = read_row(m.vec, v, v_exponent, gate, ram, before[1 + row], d, m.value(op.out) + t * d);
  });
}

bool supports(const SwapWrite&, const Tables&) { return true; }

void plan(const SwapWrite&, Planner&) {}

void run(const SwapWrite& op, const Machine& m, Worker& w) {
  const uint64_t d = m.width(op.v);
  w.share(m.rows(op.v) * kStreams, kStreams, [&](uint64_t item) {
    const uint64_t t = item / kStreams, row = item % kStreams;
    float* const out = m.value(op.out) + item * d;
    if (row == stream_row(map_of(m.ids(op.streams) + t * kStreamFields), 0)) {
      std::copy_n(m.value(op.v) + t * d, d, out);
    } else if (op.ram) {
      std::copy_n(m.value(op.ram) + item * d, d, out);
    } else {
      std::fill_n(out, d, 0.0F);
    }
  });
}

bool supports(const SwapCollapse& op, const Tables& t) { return decodes(op.norm, t) && decodes(op.bias, t); }

void plan(const SwapCollapse& op, Planner& p) {
  p.vector(op.norm);
  p.vector(op.bias);
  p.whole_matrix(op.w);
  p.thread_scratch((p.tables()[op.v].width + kStreams) * sizeof(float));
  plan_hooks(op.hooks, p);
}

void run(const SwapCollapse& op, const Machine& m, Worker& w) {
  const uint64_t d = m.width(op.v);
  auto* const u = reinterpret_cast<float*>(w.scratch);
  float* const q = u + d;
  w.share(m.rows(op.v), 1, [&](uint64_t t) {
    m.vec.rms_norm(m.value(op.v) + t * d, m.vector(op.norm), op.eps, d, u);
    dot_rows(m.matrix(op.w), u, q);
    const Choice own = largest(q, m.vector(op.bias), kStreams);
    const uint64_t position = m.step.position + t;
    const uint32_t stream = decide(m, op.hooks, position, own.index, own.lead);
    const uint32_t map = map_of(m.ids(op.streams) + t * kStreamFields);
    if (op.hooks.trace) {
      auto* const row = reinterpret_cast<float*>(m.state_row(op.hooks.trace, position));
      row[op.hooks.margin_column + 1] = static_cast<float>(map);
    }
    const float* const row = m.value(op.ram) + (t * kStreams + stream_row(map, stream)) * d;
    m.vec.add(m.value(op.residual) + t * d, row, d, m.value(op.out) + t * d);
  });
}

}  // namespace stretto::cpu
