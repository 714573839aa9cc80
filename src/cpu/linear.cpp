// Linear and the fused ops around it: the vectors are normalised and quantised once, then every weight row is
// multiplied with all of them by the thread that took it. A single vector is prepared by every thread for itself, which
// takes less time than waiting for one thread to do it.
#include "cpu/ops.h"
#include "cpu/packed.h"
#include "cpu/products.h"

namespace stretto::cpu {
namespace {

// Scratch of n vectors of `width`: the quantised form, then room for normalised floats when asked for.
uint64_t vector_scratch(uint64_t n, uint64_t width, bool floats) {
  return quantized_bytes(n, width) + (floats ? n * width * sizeof(float) : 0);
}

// Scratch of each thread for a vector of its own in both forms.
uint64_t own_scratch(uint64_t width) { return round_up(vector_scratch(1, width, true), 64); }

// The op's input in every form that `any_integer` asks for, ready for the calling thread.
Vectors prepare(const Machine& m, Worker& w, ValueId x, bool any_integer) {
  Vectors v{.floats = m.value(x), .quantized = m.scratch, .n = m.rows(x), .width = m.width(x)};
  if (any_integer && v.n == 1) {
    w.read_ahead();
    m.vec.quantize(v.floats, v.width, w.scratch, 0, v.width / kActivationBlock);
    v.quantized = w.scratch;
    w.read_ahead();
  } else if (any_integer) {
    quantize_vectors(m, w, v.floats, v.n, v.width, m.scratch);
    w.sync();
  }
  return v;
}

void plan_vectors(ValueId x, bool floats, Planner& p) {
  const uint64_t width = p.tables()[x].width;
  p.scratch(vector_scratch(p.max_rows(x), width, floats));
  p.thread_scratch(own_scratch(width));
}

// The same after an RMS norm over whole rows.
Vectors prepare_normed(const Machine& m, Worker& w, ValueId x, WeightId norm, float eps, bool any_integer) {
  const uint64_t n = m.rows(x), width = m.width(x);
  std::byte* const memory = n == 1 ? w.scratch : m.scratch;
  auto* floats = reinterpret_cast<float*>(memory + quantized_bytes(n, width));
  if (n == 1) w.read_ahead();
  const auto prepare_row = [&](uint64_t r) {
    m.vec.rms_norm(m.value(x) + r * width, m.vector(norm), eps, width, floats + r * width);
    if (n == 1) w.read_ahead();
    if (!any_integer) return;
    m.vec.quantize(floats + r * width, width, memory + r * operand_bytes(width), 0, width / kActivationBlock);
  };
  if (n == 1) {
    prepare_row(0);
    w.read_ahead();
  } else {
    w.share(n, 1, prepare_row);
    w.sync();
  }
  return {.floats = floats, .quantized = memory, .n = n, .width = width};
}

}  // namespace

bool supports(const Linear& op, const Tables& t) { return multiplies(op.w, t) && decodes(op.bias, t); }

void plan(const Linear& op, Planner& p) {
  p.matrix(op.w);
  p.vector(op.bias);
  plan_vectors(op.x, false, p);
}

void run(const Linear& op, const Machine& m, Worker& w) {
  const Vectors x = prepare(m, w, op.x, m.matrix(op.w).integer);
  const Product product{.matrix = &m.matrix(op.w), .bias = m.vector(op.bias), .out = m.value(op.out)};
  run_products(m, w, x, &product, 1);
}

bool supports(const LinearAdd& op, const Tables& t) { return multiplies(op.w, t) && decodes(op.bias, t); }

void plan(const LinearAdd& op, Planner& p) {
  p.matrix(op.w);
  p.vector(op.bias);
  plan_vectors(op.x, false, p);
}

void run(const LinearAdd& op, const Machine& m, Worker& w) {
  const Vectors x = prepare(m, w, op.x, m.matrix(op.w).integer);
  const Product product{
      .matrix = &m.matrix(op.w), .bias = m.vector(op.bias), .residual = m.value(op.residual), .out = m.value(op.out)};
  run_products(m, w, x, &product, 1);
}

std::span<const std::byte> first_weights(const Linear& op, const Machine& m, int thread, int n_threads) {
  const Matrix* const matrix = &m.matrix(op.w);
  return first_rows(&matrix, 1, thread, n_threads);
}

std::span<const std::byte> first_weights(const LinearAdd& op, const Machine& m, int thread, int n_threads) {
  const Matrix* const matrix = &m.matrix(op.w);
  return first_rows(&matrix, 1, thread, n_threads);
}

bool supports(const NormLinear& op, const Tables& t) {
  for (const NormLinear::Part& part : op.parts())
    if (!multiplies(part.w, t) || !decodes(part.bias, t)) return false;
  return decodes(op.norm, t);
}

void plan(const NormLinear& op, Planner& p) {
  p.vector(op.norm);
  for (const NormLinear::Part& part : op.parts()) {
    p.matrix(part.w);
    p.vector(part.bias);
  }
  plan_vectors(op.x, true, p);
}

void run(const NormLinear& op, const Machine& m, Worker& w) {
  Product products[NormLinear::kMaxParts];
  bool any_integer = false;
  for (int i = 0; i < op.n_parts; ++i) {
    const NormLinear::Part& part = op.part[static_cast<size_t>(i)];
    products[i] = {.matrix = &m.matrix(part.w), .bias = m.vector(part.bias), .out = m.value(part.out)};
    any_integer |= products[i].matrix->integer;
  }
  run_products(m, w, prepare_normed(m, w, op.x, op.norm, op.eps, any_integer), products, op.n_parts);
}

std::span<const std::byte> first_weights(const NormLinear& op, const Machine& m, int thread, int n_threads) {
  const Matrix* matrices[NormLinear::kMaxParts];
  for (int i = 0; i < op.n_parts; ++i) matrices[i] = &m.matrix(op.part[static_cast<size_t>(i)].w);
  return first_rows(matrices, op.n_parts, thread, n_threads);
}

bool supports(const NormGateUp& op, const Tables& t) {
  return multiplies(op.w_gate, t) && multiplies(op.w_up, t) && decodes(op.norm, t) && decodes(op.b_gate, t) &&
         decodes(op.b_up, t);
}

namespace {

// Rows of gate and up that are multiplied before their activations are combined: for several vectors few, so that the
// results stay in the first-level cache, for kernels of many more, so that these read their vectors seldom.
constexpr uint64_t kGateRows = 64, kManyGateRows = 256;

// Vectors first_vector .. end_vector - 1.
void gate_up_chunk(const NormGateUp& op, const Machine& m, const Vectors& x, uint64_t first, uint64_t n_rows,
                   uint64_t first_vector, uint64_t end_vector, float* gate, const std::byte* next) {
  const Matrix &w_gate = m.matrix(op.w_gate), &w_up = m.matrix(op.w_up);
  const float *b_gate = m.vector(op.b_gate), *b_up = m.vector(op.b_up);
  const auto out = [&](uint64_t i) { return m.value(op.out) + i * w_up.n_rows + first; };
  uint64_t n = 0;
  for (uint64_t tile = first_vector; tile < end_vector; tile += n) {
    n = std::max(w_gate.next_tile(end_vector - tile), w_up.next_tile(end_vector - tile));
    multiply_rows(
        w_gate, first, n_rows, n, {.next = w_up.run_from(first).data},
        [&](uint64_t i) { return x.at(w_gate, tile + i); }, [&](uint64_t i) { return gate + i * n_rows; },
        [&](uint64_t i, uint64_t) {
          if (b_gate != nullptr) m.vec.add(gate + i * n_rows, b_gate + first, n_rows, gate + i * n_rows);
        });
    multiply_rows(
        w_up, first, n_rows, n, {.next = next}, [&](uint64_t i) { return x.at(w_up, tile + i); },
        [&](uint64_t i) { return out(tile + i); },
        [&](uint64_t i, uint64_t) {
          if (b_up != nullptr) m.vec.add(out(tile + i), b_up + first, n_rows, out(tile + i));
          m.vec.gated_act(op.act, gate + i * n_rows, out(tile + i), n_rows, out(tile + i));
        });
  }
}

// Whether the groups of gate and up lie in turn (Planner::pair).
bool in_turn(const Matrix& gate, const Matrix& up) {
  const uint64_t group_bytes = kGroupRows * gate.row_bytes / 2;
  return gate.row_step == kGroupRows && (gate.data + group_bytes == up.data || up.data + group_bytes == gate.data);
}

// Of two matrices in turn, those rows that lie behind row `first` of both as rows of one matrix.
Matrix both_from(const Matrix& gate, const Matrix& up, uint64_t first) {
  const Matrix::Run a = gate.run_from(first), b = up.run_from(first);
  Matrix both = gate;
  both.pieces = {};
  both.data = std::min(a.data, b.data);
  both.row_bytes /= 2;
  both.n_rows = 2 * round_up(a.n_rows, kGroupRows);
  return both;
}

// One vector: runs of groups of gate and up in turn, in one ascending stream, then the activations group by group.
void run_in_turn(const NormGateUp& op, const Machine& m, Worker& w, const Vectors& x, float* results) {
  constexpr uint64_t kPairRows = 2 * kGroupRows;
  const Matrix &w_gate = m.matrix(op.w_gate), &w_up = m.matrix(op.w_up);
  const float *b_gate = m.vector(op.b_gate), *b_up = m.vector(op.b_up);
  const uint64_t gate_at = w_gate.data < w_up.data ? 0 : kGroupRows, up_at = kGroupRows - gate_at;
  const uint64_t n_groups = div_up(w_gate.n_rows, kGroupRows);
  const auto groups_of = [&](int owner) { return Worker::span_size(n_groups, owner, w.n_threads()); };
  const uint64_t own = groups_of(w.thread()), with_later = first_with_later(w, own, kPairRows, x.width);
  w.share_runs(groups_of, kGroupRows * w_gate.row_bytes, [&](const Worker::Run& run) {
    const uint64_t before = Worker::span(n_groups, run.owner, w.n_threads()).first, n_run = run.end - run.begin;
    const Matrix both = both_from(w_gate, w_up, (before + run.begin) * kGroupRows);
    const Onward onward{.next = run.end == own && run.owner == w.thread() ? w.next_weights() : nullptr,
                        .later = run.later,
                        .later_row = (std::max(run.begin, with_later) - run.begin) * kPairRows,
                        .interrupt = run.interrupt};
    const uint64_t n_done = multiply_rows(
                                both, 0, n_run * kPairRows, 1, onward, [&](uint64_t) { return x.at(both, 0); },
                                [&](uint64_t) { return results; }, [](uint64_t, uint64_t) {}) /
                            kPairRows;
    for (uint64_t i = 0; i < n_done; ++i) {
      const uint64_t first = (before + run.begin + i) * kGroupRows, count = std::min(kGroupRows, w_gate.n_rows - first);
      float *const gate = results + i * kPairRows + gate_at, *const up = results + i * kPairRows + up_at;
      if (b_gate != nullptr) m.vec.add(gate, b_gate + first, count, gate);
      if (b_up != nullptr) m.vec.add(up, b_up + first, count, up);
      m.vec.gated_act(op.act, gate, up, count, m.value(op.out) + first);
    }
    return run.begin + n_done;
  });
}

// One vector: each run of rows through gate, then through up.
void run_single(const NormGateUp& op, const Machine& m, Worker& w, const Vectors& x, float* results) {
  const Matrix &w_gate = m.matrix(op.w_gate), &w_up = m.matrix(op.w_up);
  if (in_turn(w_gate, w_up)) return run_in_turn(op, m, w, x, results);
  const uint64_t n_rows = w_gate.n_rows, n = div_up(n_rows, kGroupRows);
  const auto groups_of = [&](int owner) { return Worker::span_size(n, owner, w.n_threads()); };
  const uint64_t own = groups_of(w.thread());
  w.share_runs(groups_of, kGroupRows * (w_gate.row_bytes + w_up.row_bytes), [&](const Worker::Run& run) {
    const uint64_t before = Worker::span(n, run.owner, w.n_threads()).first;
    const uint64_t first = (before + run.begin) * kGroupRows, last = std::min((before + run.end) * kGroupRows, n_rows);
    const bool onward = last == n_rows || (run.end == own && run.owner == w.thread());
    gate_up_chunk(op, m, x, first, last - first, 0, 1, results, onward ? w.next_weights() : w_gate.run_from(last).data);
    return run.end;
  });
}

}  // namespace

void plan(const NormGateUp& op, Planner& p) {
  p.vector(op.norm);
  p.matrix(op.w_gate);
  p.matrix(op.w_up);
  p.pair(op.w_gate, op.w_up);
  p.vector(op.b_gate);
  p.vector(op.b_up);
  plan_vectors(op.x, true, p);
  const uint64_t n_results = std::max(kManyVectors * kManyGateRows, 2 * round_up(p.tables()[op.out].width, kGroupRows));
  p.thread_scratch(own_scratch(p.tables()[op.x].width) + n_results * sizeof(float));
}

void run(const NormGateUp& op, const Machine& m, Worker& w) {
  const Matrix& w_gate = m.matrix(op.w_gate);
  const bool any_integer = w_gate.integer || m.matrix(op.w_up).integer;
  const Vectors x = prepare_normed(m, w, op.x, op.norm, op.eps, any_integer);
  auto* const gate = reinterpret_cast<float*>(w.scratch + own_scratch(x.width));
  if (x.n == 1) return run_single(op, m, w, x, gate);
  const uint64_t chunk = std::min(w_gate.takes_many(x.n) ? kManyGateRows : kGateRows,
                                  round_up(rows_per_chunk(w_gate, w_gate.n_rows, x.n, w.n_threads()), kGroupRows));
  const uint64_t slice = vectors_per_slice(w_gate, x.n), n_slices = div_up(x.n, slice);
  w.share(div_up(w_gate.n_rows, chunk) * n_slices, 1, [&](uint64_t item) {
    const uint64_t first = item / n_slices * chunk, vector = item % n_slices * slice;
    gate_up_chunk(op, m, x, first, std::min(chunk, w_gate.n_rows - first), vector, std::min(x.n, vector + slice), gate,
                  nullptr);
  });
}

std::span<const std::byte> first_weights(const NormGateUp& op, const Machine& m, int thread, int n_threads) {
  const Matrix* matrices[] = {&m.matrix(op.w_gate), &m.matrix(op.w_up)};
  if (in_turn(*matrices[0], *matrices[1]) && matrices[1]->data < matrices[0]->data) std::swap(matrices[0], matrices[1]);
  return first_rows(matrices, 1, thread, n_threads);
}

}  // namespace stretto::cpu
