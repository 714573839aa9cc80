// Embed and TakeOutputs: copies of rows.
#include <cstring>

#include "cpu/ops.h"

namespace stretto::cpu {

bool supports(const Embed& op, const Tables& t) { return multiplies(op.table, t); }

void plan(const Embed& op, Planner& p) { p.lookup(op.table); }

void run(const Embed& op, const Machine& m, Worker& w) {
  const Matrix& table = m.lookup(op.table);
  const uint64_t width = m.width(op.out);
  w.share(m.n_tokens(), 1, [&](uint64_t t) {
    const auto token = static_cast<uint64_t>(m.step.tokens[t]);
    CHECK(m.step.tokens[t] >= 0 && token < table.n_rows);
    float* out = m.value(op.out) + t * width;
    decode_row(table.type, table.data + token * table.row_bytes, width, out);
    if (op.scale != 1) m.vec.scale(op.scale, out, width, out);
  });
}

bool supports(const TakeOutputs&, const Tables&) { return true; }

void plan(const TakeOutputs&, Planner&) {}

void run(const TakeOutputs& op, const Machine& m, Worker& w) {
  if (!w.first()) return;
  const uint64_t width = m.width(op.x);
  for (size_t o = 0; o < m.step.outputs.size(); ++o) {
    const auto row = static_cast<uint64_t>(m.step.outputs[o]);
    CHECK(m.step.outputs[o] >= 0 && row < m.n_tokens());
    std::memcpy(m.value(op.out) + o * width, m.value(op.x) + row * width, width * sizeof(float));
  }
}

}  // namespace stretto::cpu
