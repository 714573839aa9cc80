// Mixtures of experts.
//
// A small step is three kernels: the router's logits; gate and up of the chosen experts, each block choosing for
// itself; their weighted sum with the residual. A large one sorts its (row, choice) pairs by expert and runs one
// grouped product per matrix (cuda/expert_gemm.h). Neither ids nor weights leave the device.
#include <algorithm>

#include "base/checked.h"
#include "cuda/elementwise.h"
#include "cuda/expert_gemm.h"
#include "cuda/ops.h"

namespace stretto::cuda {
namespace {

constexpr uint32_t kAlignedColumns = 8;         // of a dense product
constexpr uint64_t kMaxVectorBytes = 96 << 10;  // of the input vectors of a block, in shared memory

uint32_t u32(uint64_t v) { return static_cast<uint32_t>(v); }

MatrixKey key_of(WeightId w) { return {.weights = {w.index}, .experts = true}; }
MatrixKey gate_up_key(const MoeBlock& op) {
  return {.weights = {op.w_gate.index, op.w_up.index}, .gate_up = true, .experts = true};
}

bool routes(uint64_t n_experts, uint64_t top_k) { return n_experts <= kMaxRoutedExperts && top_k <= kMaxTopK; }

ExpertShape shape_of(const MatrixKey& key, const Tables& t) {
  return expert_shape(t[WeightId{key.weights.front()}], key.gate_up);
}

template <class T>
T* scratch(const Machine& m, ExpertBuffer which) {
  return reinterpret_cast<T*>(m.experts[which]);
}

Router router_of(const MoeBlock& op, const Machine& m) {
  return {.logits = scratch<float>(m, kExpertLogits),
          .n_experts = u32(m.tables()[op.router].shape.rows()),
          .top_k = u32(op.top_k),
          .renormalise = op.renormalise,
          .scale = op.weight_scale};
}

RouterLogitsParams logits_of(const MoeBlock& op, const Machine& m) {
  return {.x = m.value(op.x),
          .norm = m.vector(op.norm),
          .w = m.vector(op.router),
          .logits = scratch<float>(m, kExpertLogits),
          .n_in = u32(m.width(op.x)),
          .n_experts = u32(m.tables()[op.router].shape.rows()),
          .n_rows = u32(m.rows(op.x)),
          .eps = op.eps};
}

void run_small(const MoeBlock& op, Machine& m) {
  const Tables& t = m.tables();
  const MatrixKey gate_up_id = gate_up_key(op), down_id = key_of(op.w_down);
  const ExpertShape gate_up = shape_of(gate_up_id, t), down = shape_of(down_id, t);
  const uint32_t rows = u32(m.rows(op.x)), top_k = u32(op.top_k);
  const Router router = router_of(op, m);
  launch_router_logits(m.queue, logits_of(op, m));
  const ExpertChoice& choice = m.choices.experts;
  const ExpertGemvTuning gate_up_tuning = tune_expert_gemv(gate_up, ExpertMode::kGateUp, top_k, true, m.device, choice);
  const ExpertGemvTuning down_tuning = tune_expert_gemv(down, ExpertMode::kSum, top_k, false, m.device, choice);
  launch_expert_gemv(m.queue, gate_up, gate_up_tuning, rows,
                     {.mode = ExpertMode::kGateUp,
                      .weights = m.matrix(gate_up_id).data,
                      .router = router,
                      .x = m.value(op.x),
                      .shared_x = true,
                      .norm = m.vector(op.norm),
                      .eps = op.eps,
                      .act = op.act,
                      .out = scratch<float>(m, kExpertHidden)});
  const uint32_t pause = choice.pause_cycles != 0
                             ? choice.pause_cycles
                             : sum_pause_cycles(gate_up, gate_up_tuning, down_tuning, top_k, m.device);
  launch_expert_gemv(m.queue, down, down_tuning, rows,
                     {.mode = ExpertMode::kSum,
                      .weights = m.matrix(down_id).data,
                      .router = router,
                      .x = scratch<float>(m, kExpertHidden),
                      .residual = m.value(op.x),
                      .out = m.value(op.out),
                      .pause_cycles = pause});
}

// Logits of a large step: a dense product of floats where there is a library for it.
void run_router(const MoeBlock& op, Machine& m) {
  const RouterLogitsParams params = logits_of(op, m);
  if (m.gemm == nullptr || params.n_in % kAlignedColumns != 0) return launch_router_rows(m.queue, params);
  launch_rms_norm(m.queue, params.n_rows, DType::kF32,
                  {.x = params.x,
                   .weight = params.norm,
                   .out = m.experts[kExpertNormed],
                   .group = params.n_in,
                   .stride = params.n_in,
                   .eps = params.eps});
  m.gemm->run(m.queue.stream, {.type = DType::kF32,
                               .w = params.w,
                               .x = m.experts[kExpertNormed],
                               .n_out = params.n_experts,
                               .n_rows = params.n_rows,
                               .n_in = params.n_in,
                               .stride = params.n_in,
                               .out = params.logits,
                               .out_stride = params.n_experts});
}

void choose_pairs(const MoeBlock& op, Machine& m) {
  const Router router = router_of(op, m);
  const uint32_t rows = u32(m.rows(op.x));
  run_router(op, m);
  launch_top_k(m.queue, {.router = router,
                         .ids = scratch<int32_t>(m, kExpertIds),
                         .weights = scratch<float>(m, kExpertWeights),
                         .n_rows = rows});
  launch_sort_pairs(m.queue, {.ids = scratch<int32_t>(m, kExpertIds),
                              .n_pairs = rows * router.top_k,
                              .n_experts = router.n_experts,
                              .pairs = scratch<uint32_t>(m, kExpertPairs),
                              .tiles = scratch<ExpertTile>(m, kExpertTiles)});
}

void run_large(const MoeBlock& op, Machine& m) {
  const Tables& t = m.tables();
  const MatrixKey gate_up_id = gate_up_key(op), down_id = key_of(op.w_down);
  const ExpertShape gate_up = shape_of(gate_up_id, t), down = shape_of(down_id, t);
  const uint32_t rows = u32(m.rows(op.x)), top_k = u32(op.top_k);
  const uint32_t max_tiles = u32(max_expert_tiles(uint64_t{rows} * top_k, gate_up.n_experts));
  choose_pairs(op, m);
  launch_rms_norm(m.queue, rows, expert_dense_type(gate_up.packed.type),
                  {.x = m.value(op.x),
                   .weight = m.vector(op.norm),
                   .out = m.experts[kExpertInput],
                   .group = gate_up.n_in,
                   .stride = expert_dense_stride(gate_up),
                   .eps = op.eps});
  launch_expert_gemm(m.queue, gate_up, max_tiles,
                     {.weights = m.matrix(gate_up_id).data,
                      .pairs = scratch<uint32_t>(m, kExpertPairs),
                      .tiles = scratch<ExpertTile>(m, kExpertTiles),
                      .top_k = top_k,
                      .x = m.experts[kExpertInput],
                      .gate_up = true,
                      .out = m.experts[kExpertHidden],
                      .out_is_f16 = expert_dense_type(down.packed.type) == DType::kF16,
                      .out_stride = expert_dense_stride(down),
                      .act = op.act});
  launch_expert_gemm(m.queue, down, max_tiles,
                     {.weights = m.matrix(down_id).data,
                      .pairs = scratch<uint32_t>(m, kExpertPairs),
                      .tiles = scratch<ExpertTile>(m, kExpertTiles),
                      .top_k = top_k,
                      .x = m.experts[kExpertHidden],
                      .out = m.experts[kExpertDown]});
  launch_expert_sum(m.queue, {.x = scratch<float>(m, kExpertDown),
                              .weights = scratch<float>(m, kExpertWeights),
                              .residual = m.value(op.x),
                              .out = m.value(op.out),
                              .n_rows = rows,
                              .width = u32(m.width(op.out)),
                              .top_k = top_k});
}

}  // namespace

bool packs_experts(WeightId id, const Tables& t, uint64_t n_vectors) {
  const WeightInfo& w = t[id];
  if (!decodes(id, t) || w.shape.rank() != 3 || !gemv_supports(w.type)) return false;
  const UnitShape unit = unit_shape(w.type);
  const uint64_t element_bytes = info(w.type).block_elements == 1 ? sizeof(float) : 2;
  return n_vectors * round_up(w.shape.cols(), unit.cols) * element_bytes <= kMaxVectorBytes;
}

bool supports(const RouterTopK& op, const Tables& t) { return routes(t[op.logits].width, op.top_k); }
void plan(const RouterTopK&, Planner&) {}
void run(const RouterTopK& op, Machine& m) {
  if (m.rows(op.logits) == 0) return;
  launch_top_k(m.queue, {.router = {.logits = m.value(op.logits),
                                    .n_experts = u32(m.width(op.logits)),
                                    .top_k = u32(op.top_k),
                                    .renormalise = op.renormalise,
                                    .scale = op.scale},
                         .ids = reinterpret_cast<int32_t*>(m.value(op.ids)),
                         .weights = m.value(op.weights),
                         .n_rows = u32(m.rows(op.logits))});
}

bool supports(const ExpertLinear& op, const Tables& t) {
  return packs_experts(op.w, t, op.shared(t) ? 1 : op.top_k(t)) && routes(t[op.w].shape[0], op.top_k(t));
}
void plan(const ExpertLinear& op, Planner& p) { p.matrix(key_of(op.w)); }
void run(const ExpertLinear& op, Machine& m) {
  const Tables& t = m.tables();
  if (m.rows(op.x) == 0) return;
  const MatrixKey key = key_of(op.w);
  const ExpertShape shape = shape_of(key, t);
  const uint32_t top_k = u32(op.top_k(t));
  launch_expert_gemv(m.queue, shape, tune_expert_gemv(shape, ExpertMode::kPlain, top_k, op.shared(t), m.device),
                     u32(m.rows(op.x)),
                     {.weights = m.matrix(key).data,
                      .router = {.ids = reinterpret_cast<const int32_t*>(m.value(op.ids)),
                                 .n_experts = shape.n_experts,
                                 .top_k = top_k},
                      .x = m.value(op.x),
                      .shared_x = op.shared(t),
                      .out = m.value(op.out)});
}

bool supports(const ExpertSum&, const Tables&) { return true; }
void plan(const ExpertSum&, Planner&) {}
void run(const ExpertSum& op, Machine& m) {
  if (m.rows(op.out) == 0) return;
  launch_expert_sum(m.queue, {.x = m.value(op.x),
                              .weights = m.value(op.weights),
                              .out = m.value(op.out),
                              .n_rows = u32(m.rows(op.out)),
                              .width = u32(m.width(op.out)),
                              .top_k = u32(m.width(op.weights))});
}

bool supports(const MoeBlock& op, const Tables& t) {
  return t[op.w_gate].type == t[op.w_up].type && packs_experts(op.w_gate, t, 1) && packs_experts(op.w_up, t, 1) &&
         packs_experts(op.w_down, t, op.top_k) && decodes(op.norm, t) && decodes(op.router, t) &&
         routes(t[op.w_gate].shape[0], op.top_k);
}

void plan(const MoeBlock& op, Planner& p) {
  const Tables& t = p.tables();
  p.vector(op.norm);
  p.vector(op.router);
  p.matrix(gate_up_key(op));
  p.matrix(key_of(op.w_down));
  const ExpertShape gate_up = shape_of(gate_up_key(op), t), down = shape_of(key_of(op.w_down), t);
  const uint64_t rows = p.max_rows(op.x), small = std::min(rows, kMaxGemvRows), pairs = rows * op.top_k;
  const auto need = [&](ExpertBuffer which, uint64_t bytes) {
    p.expert_bytes[which] = std::max(p.expert_bytes[which], bytes);
  };
  need(kExpertLogits, rows * gate_up.n_experts * sizeof(float));
  need(kExpertHidden, small * op.top_k * gate_up.n_out * sizeof(float));
  if (rows <= kMaxGemvRows) return;
  need(kExpertIds, pairs * sizeof(int32_t));
  need(kExpertWeights, pairs * sizeof(float));
  need(kExpertPairs, pairs * sizeof(uint32_t));
  need(kExpertTiles, expert_tiles_bytes(pairs, gate_up.n_experts));
  need(kExpertNormed, rows * t[op.x].width * sizeof(float));
  need(kExpertInput, rows * expert_dense_stride(gate_up) * 2);
  need(kExpertHidden, pairs * expert_dense_stride(down) * 2);
  need(kExpertDown, pairs * down.n_out * sizeof(float));
}
void run(const MoeBlock& op, Machine& m) {
  if (m.rows(op.x) == 0) return;
  m.rows(op.x) <= kMaxGemvRows ? run_small(op, m) : run_large(op, m);
}

}  // namespace stretto::cuda
