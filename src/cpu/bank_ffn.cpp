// BankFfn: gate, up and down of the bank that a row chose, three products in two phases. A single row takes runs of
// rows of its bank, as dense layers do; several rows are grouped by bank, so that each weight row that is used at all
// is read once per step, and divided among the threads by runs of weight rows.
#include "cpu/ops.h"
#include "cpu/packed.h"
#include "cpu/products.h"

namespace stretto::cpu {
namespace {

// Weight rows that a thread takes for several vectors, so that gate and up results stay in the first-level cache.
constexpr uint64_t kRows = 64;

// The op's shapes and where its intermediate vectors lie.
struct Layout {
  uint64_t n, d, d_ff, n_banks;

  Layout(const BankFfn& op, const Tables& t, uint64_t n)
      : n(n), d(t[op.x].width), d_ff(t[op.w_gate].shape[1]), n_banks(t[op.w_gate].shape[0]) {}

  // Shared: rows in order of their banks, the first of each bank, then normed rows and hidden rows in both forms.
  uint64_t order_bytes() const { return round_up((n + n_banks + 1) * sizeof(uint32_t), 64); }
  uint64_t normed_at() const { return order_bytes() + quantized_bytes(n, d); }
  uint64_t hidden_quantized_at() const { return normed_at() + round_up(n * d * sizeof(float), 64); }
  uint64_t hidden_at() const { return hidden_quantized_at() + quantized_bytes(n, d_ff); }
  uint64_t bytes() const { return hidden_at() + round_up(n * d_ff * sizeof(float), 64); }

  // Each thread's own: a single row in both forms, gate results, and its hidden row quantised.
  uint64_t gate_at() const { return quantized_bytes(1, d) + round_up(d * sizeof(float), 64); }
  uint64_t own_hidden_at() const {
    return gate_at() + std::max(kWideTile * kRows, round_up(d_ff, kGroupRows)) * sizeof(float);
  }
  uint64_t own_bytes() const { return own_hidden_at() + quantized_bytes(1, d_ff); }
};

struct Bank {
  const BankFfn& op;
  const Machine& m;
  const Layout& at;
  const Matrix &gate, &up, &down;

  Bank(const BankFfn& op, const Machine& m, const Layout& at)
      : op(op), m(m), at(at), gate(m.matrix(op.w_gate)), up(m.matrix(op.w_up)), down(m.matrix(op.w_down)) {}

  // The norm of row r of x, as floats and where needed as an operand.
  void prepare(uint64_t r, float* floats, std::byte* quantized) const {
    m.vec.rms_norm(m.value(op.x) + r * at.d, m.vector(op.norm), op.eps, at.d, floats);
    if (gate.integer || up.integer) m.vec.quantize(floats, at.d, quantized, 0, at.d / kActivationBlock);
  }

  // Rows first .. first + count - 1 of a bank's gate and up with some vectors; row_at(i) is the i-th one's row.
  template <class RowAt>
  void gate_up(uint64_t bank, uint64_t first, uint64_t count, const Vectors& x, uint64_t n, const RowAt& row_at,
               float* gates, float* hidden, const std::byte* next) const {
    const auto vector = [&](const Matrix& w) { return [&](uint64_t i) { return x.at(w, row_at(i)); }; };
    const auto out = [&](uint64_t i) { return hidden + row_at(i) * at.d_ff + first; };
    const auto gate_of = [&](uint64_t i) { return gates + i * count; };
    const uint64_t row = bank * at.d_ff + first;
    multiply_rows(gate, row, count, n, {.next = up.data + row * up.row_bytes}, vector(gate), gate_of,
                  [](uint64_t, uint64_t) {});
    multiply_rows(up, row, count, n, {.next = next}, vector(up), out,
                  [&](uint64_t i, uint64_t) { m.vec.gated_act(op.act, gate_of(i), out(i), count, out(i)); });
  }

  template <class RowAt>
  void project(uint64_t bank, uint64_t first, uint64_t count, const Vectors& hidden, uint64_t n, const RowAt& row_at,
               const std::byte* next) const {
    const auto out = [&](uint64_t i) { return m.value(op.out) + row_at(i) * at.d + first; };
    multiply_rows(
        down, bank * at.d + first, count, n, {.next = next}, [&](uint64_t i) { return hidden.at(down, row_at(i)); },
        out, [&](uint64_t i, uint64_t) { m.vec.add(m.value(op.x) + row_at(i) * at.d + first, out(i), count, out(i)); });
  }
};

// f(first, count) for runs of the n rows of one bank, of `bytes` each.
template <class F>
void share_rows(Worker& w, uint64_t n, uint64_t bytes, const F& f) {
  const uint64_t n_groups = div_up(n, kGroupRows);
  const auto groups_of = [&](int owner) { return Worker::span_size(n_groups, owner, w.n_threads()); };
  w.share_runs(groups_of, kGroupRows * bytes, [&](const Worker::Run& run) {
    const uint64_t before = Worker::span(n_groups, run.owner, w.n_threads()).first;
    const uint64_t first = (before + run.begin) * kGroupRows;
    f(first, std::min((before + run.end) * kGroupRows, n) - first);
    return run.end;
  });
}

void run_single(const Bank& b, const Machine& m, Worker& w) {
  const Layout& at = b.at;
  const auto bank = static_cast<uint64_t>(m.ids(b.op.bank)[0]);
  const auto only = [](uint64_t) { return uint64_t{0}; };
  auto* const floats = reinterpret_cast<float*>(w.scratch + quantized_bytes(1, at.d));
  auto* const gates = reinterpret_cast<float*>(w.scratch + at.gate_at());
  auto* const hidden = reinterpret_cast<float*>(m.scratch + at.hidden_at());
  b.prepare(0, floats, w.scratch);
  const Vectors x{.floats = floats, .quantized = w.scratch, .n = 1, .width = at.d};
  const std::byte* const own_down =
      b.down.data + (bank * at.d + w.span_begin(div_up(at.d, kGroupRows)) * kGroupRows) * b.down.row_bytes;
  const uint64_t own_end = std::min(w.span_end(div_up(at.d_ff, kGroupRows)) * kGroupRows, at.d_ff);
  share_rows(w, at.d_ff, b.gate.row_bytes + b.up.row_bytes, [&](uint64_t first, uint64_t count) {
    const uint64_t end = first + count;
    const std::byte* const more = b.gate.data + (bank * at.d_ff + end) * b.gate.row_bytes;
    b.gate_up(bank, first, count, x, 1, only, gates, hidden, end == own_end ? own_down : more);
  });
  w.sync();
  std::byte* const quantized = w.scratch + at.own_hidden_at();
  if (b.down.integer) m.vec.quantize(hidden, at.d_ff, quantized, 0, at.d_ff / kActivationBlock);
  const Vectors h{.floats = hidden, .quantized = quantized, .n = 1, .width = at.d_ff};
  share_rows(w, at.d, b.down.row_bytes,
             [&](uint64_t first, uint64_t count) { b.project(bank, first, count, h, 1, only, nullptr); });
}

// Rows in order of their banks: those of bank b are order[begin[b] .. begin[b + 1]).
void sort_rows(const int32_t* banks, const Layout& at, uint32_t* order, uint32_t* begin) {
  std::fill_n(begin, at.n_banks + 1, 0U);
  for (uint64_t r = 0; r < at.n; ++r) ++begin[banks[r] + 1];
  for (uint64_t b = 0; b < at.n_banks; ++b) begin[b + 1] += begin[b];
  for (uint64_t r = 0; r < at.n; ++r) order[begin[banks[r]]++] = static_cast<uint32_t>(r);
  for (uint64_t b = at.n_banks; b > 0; --b) begin[b] = begin[b - 1];  // placing moved every beginning on by one bank
  begin[0] = 0;
}

void run_several(const Bank& b, const Machine& m, Worker& w) {
  const Layout& at = b.at;
  auto* const order = reinterpret_cast<uint32_t*>(m.scratch);
  uint32_t* const begin = order + at.n;
  auto* const floats = reinterpret_cast<float*>(m.scratch + at.normed_at());
  auto* const hidden = reinterpret_cast<float*>(m.scratch + at.hidden_at());
  std::byte *const quantized = m.scratch + at.order_bytes(), *const hidden_quantized =
                                                                 m.scratch + at.hidden_quantized_at();
  auto* const gates = reinterpret_cast<float*>(w.scratch + at.gate_at());
  if (w.first()) sort_rows(m.ids(b.op.bank), at, order, begin);
  w.share(at.n, 1, [&](uint64_t r) { b.prepare(r, floats + r * at.d, quantized + r * (quantized_bytes(1, at.d))); });
  w.sync();
  // f(bank, first weight row, count, first place in the order, vectors) for every bank in use, in wide tiles.
  const auto share_banks = [&](uint64_t n_rows, const auto& f) {
    const uint64_t n_chunks = div_up(n_rows, kRows);
    w.share(at.n_banks * n_chunks, 1, [&](uint64_t item) {
      const uint64_t bank = item / n_chunks, first = item % n_chunks * kRows;
      for (uint64_t k = begin[bank]; k < begin[bank + 1]; k += kWideTile)
        f(bank, first, std::min(kRows, n_rows - first), k, std::min<uint64_t>(kWideTile, begin[bank + 1] - k));
    });
  };
  const Vectors x{.floats = floats, .quantized = quantized, .n = at.n, .width = at.d};
  share_banks(at.d_ff, [&](uint64_t bank, uint64_t first, uint64_t count, uint64_t k, uint64_t n) {
    b.gate_up(
        bank, first, count, x, n, [&](uint64_t i) -> uint64_t { return order[k + i]; }, gates, hidden, nullptr);
  });
  w.sync();
  if (b.down.integer) {
    quantize_vectors(m, w, hidden, at.n, at.d_ff, hidden_quantized);
    w.sync();
  }
  const Vectors h{.floats = hidden, .quantized = hidden_quantized, .n = at.n, .width = at.d_ff};
  share_banks(at.d, [&](uint64_t bank, uint64_t first, uint64_t count, uint64_t k, uint64_t n) {
    b.project(
        bank, first, count, h, n, [&](uint64_t i) -> uint64_t { return order[k + i]; }, nullptr);
  });
}

}  // namespace

bool supports(const BankFfn& op, const Tables& t) {
  return multiplies(op.w_gate, t) && multiplies(op.w_up, t) && multiplies(op.w_down, t) && decodes(op.norm, t);
}

void plan(const BankFfn& op, Planner& p) {
  p.vector(op.norm);
  for (const WeightId w : {op.w_gate, op.w_up, op.w_down}) p.whole_matrix(w);
  const Layout at(op, p.tables(), p.max_rows(op.x));
  p.scratch(at.bytes());
  p.thread_scratch(at.own_bytes());
}

void run(const BankFfn& op, const Machine& m, Worker& w) {
  const Layout at(op, m.tables(), m.rows(op.x));
  const Bank bank(op, m, at);
  at.n == 1 ? run_single(bank, m, w) : run_several(bank, m, w);
}

}  // namespace stretto::cpu
