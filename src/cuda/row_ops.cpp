// Ops that work row by row.
#include "cuda/elementwise.h"
#include "cuda/ops.h"
#include "cuda/rows.h"
#include "formats/formats.h"

namespace stretto::cuda {
namespace {

MatrixKey table_key(const Embed& op) { return {.weights = {op.table.index}, .gate_up = false}; }

uint32_t u32(uint64_t v) { return static_cast<uint32_t>(v); }

}  // namespace

bool decodes(WeightId id, const Tables& t) {
  return !id || (has_format(t[id].type) && t[id].shape.cols() % info(t[id].type).block_elements == 0);
}

bool packs(WeightId id, const Tables& t) {
  constexpr uint64_t kMostInteger = 64 << 10, kMostFloat = 16 << 10;
  const bool plain = info(t[id].type).block_elements == 1;
  return decodes(id, t) && t[id].shape.rank() == 2 && gemv_supports(t[id].type) &&
         t[id].shape.cols() <= (plain ? kMostFloat : kMostInteger);
}

bool supports(const Embed& op, const Tables& t) { return packs(op.table, t); }
void plan(const Embed& op, Planner& p) { p.matrix(table_key(op)); }
void run(const Embed& op, Machine& m) {
  const Matrix& table = m.matrix(table_key(op));
  launch_embed(m.queue, table.shape, u32(m.n_tokens),
               {.table = table.data, .tokens = m.tokens, .out = m.value(op.out), .scale = op.scale});
}

void tape(const Embed& op, const Machine& m, StreamTape& t) {
  const Matrix& table = m.matrix(table_key(op));
  StreamPhase& phase = t.add(StreamKind::kEmbed);
  phase.embed.type = table.shape.type;
  phase.embed.row = {.table = table.data,
                     .tokens = m.tokens,
                     .out = m.value(op.out),
                     .scale = op.scale,
                     .n_in = u32(table.shape.n_in),
                     .n_units = u32(table.shape.n_units())};
}

bool supports(const TakeOutputs&, const Tables&) { return true; }
void plan(const TakeOutputs&, Planner&) {}
void run(const TakeOutputs& op, Machine& m) {
  if (m.n_outputs == 0) return;
  launch_take_rows(m.queue, u32(m.n_outputs),
                   {.x = m.value(op.x), .rows = m.outputs, .out = m.value(op.out), .width = u32(m.width(op.x))});
}

// Of one row: its values have one place (StreamRunner).
void tape(const TakeOutputs&, const Machine&, StreamTape&) {}

bool supports(const RmsNorm& op, const Tables& t) { return decodes(op.weight, t); }
void plan(const RmsNorm& op, Planner& p) { p.vector(op.weight); }
void run(const RmsNorm& op, Machine& m) {
  const uint64_t n_groups = m.rows(op.x) * (m.width(op.x) / op.group);
  if (n_groups == 0) return;
  launch_rms_norm(m.queue, u32(n_groups), DType::kF32,
                  {.x = m.value(op.x),
                   .weight = m.vector(op.weight),
                   .out = m.value(op.out),
                   .group = u32(op.group),
                   .stride = u32(op.group),
                   .eps = op.eps});
}

// One vector, not heads of one.
void tape(const RmsNorm& op, const Machine& m, StreamTape& t) {
  if (op.group != m.width(op.x) || op.group % 4 != 0 || m.tables()[op.x].rows != Rows::kTokens) {
    t.problem = std::string(RmsNorm::kName);
    return;
  }
  t.add(StreamKind::kNormRow).norm_row = {
      .x = m.value(op.x), .weight = m.vector(op.weight), .out = m.value(op.out), .d = u32(op.group), .eps = op.eps};
}

bool supports(const Add&, const Tables&) { return true; }
void plan(const Add&, Planner&) {}
void run(const Add& op, Machine& m) {
  const uint64_t n = m.rows(op.out) * m.width(op.out);
  if (n == 0) return;
  launch_add(m.queue, {.a = m.value(op.a), .b = m.value(op.b), .out = m.value(op.out), .n = n, .b_width = n});
}

bool supports(const GatedAct&, const Tables&) { return true; }
void plan(const GatedAct&, Planner&) {}
void run(const GatedAct& op, Machine& m) {
  const uint64_t n = m.rows(op.out) * m.width(op.out);
  if (n == 0) return;
  launch_gated_act(m.queue,
                   {.gate = m.value(op.gate), .up = m.value(op.up), .out = m.value(op.out), .n = n, .act = op.act});
}

}  // namespace stretto::cuda
