// Swap layers: events and their pieces, the end of a layer, rows of states.
//
// A small step runs an event row by row as 2 k_ffn products, the first of which routes (cuda/bank_gemv.cu). A large one
// routes all rows in one kernel, sorts them by bank and runs grouped products, as mixtures of experts do. Banks in F32
// always take the products of small steps: their large ones would be rounded to bf16.
#include "base/checked.h"
#include "cuda/bank_gemv.h"
#include "cuda/elementwise.h"
#include "cuda/expert_gemm.h"
#include "cuda/ops.h"
#include "cuda/swap_banks.h"

namespace stretto::cuda {
namespace {

uint32_t u32(uint64_t v) { return static_cast<uint32_t>(v); }

template <class T>
T* scratch(const Machine& m, ExpertBuffer which) {
  return reinterpret_cast<T*>(m.experts[which]);
}

SwapHookParams hooks_of(const SwapHooks& hooks, const Machine& m) {
  SwapHookParams p{.column = u32(hooks.column), .margin_column = u32(hooks.margin_column)};
  if (hooks.forced) {
    const Shape& shape = m.tables()[hooks.forced].shape;
    p.forced = m.vector(hooks.forced);
    p.n_forced = u32(shape.rows());
    p.forced_stride = u32(shape.cols());
  }
  if (hooks.trace) {
    p.trace = reinterpret_cast<float*>(m.cache(hooks.trace));
    p.trace_stride = u32(m.tables()[hooks.trace].width);
  }
  return p;
}

int32_t* ids(const Machine& m, ValueId id) { return id ? reinterpret_cast<int32_t*>(m.value(id)) : nullptr; }
const float* optional(const Machine& m, ValueId id) { return id ? m.value(id) : nullptr; }

}  // namespace

bool Banks::supported(const Tables& t) const {
  return t[w_gate].type == t[w_up].type && packs_experts(w_gate, t, 1) && packs_experts(w_up, t, 1) &&
         packs_experts(w_down, t, 1) && decodes(norm, t) && down(t).fold == 1 && t[w_gate].shape[0] <= kMaxSwapBanks;
}

void Banks::plan(Planner& p, uint64_t rows) const {
  const Tables& t = p.tables();
  p.vector(norm);
  p.matrix(gate_up_key());
  p.matrix(down_key());
  const auto need = [&](ExpertBuffer which, uint64_t bytes) {
    p.expert_bytes[which] = std::max(p.expert_bytes[which], bytes);
  };
  const ExpertShape wide = gate_up(t), narrow = down(t);
  need(kExpertIds, rows * sizeof(int32_t));
  need(kExpertNormed, rows * wide.n_in * sizeof(float));
  need(kExpertDown, rows * wide.n_in * sizeof(float));
  need(kExpertHidden, wide.n_out * sizeof(float));
  if (!is_large(t, rows)) return;
  need(kExpertPairs, rows * sizeof(uint32_t));
  need(kExpertTiles, expert_tiles_bytes(rows, wide.n_experts));
  const uint64_t parts = p.splits ? 2 : 1;
  need(kExpertInput, parts * rows * expert_dense_stride(wide) * 2);
  need(kExpertHidden, parts * rows * expert_dense_stride(narrow) * 2);
}

BankGemvParams bank_gate_up_params(const Banks& b, const Machine& m, const BankStep& s) {
  BankGemvParams p{.gemv = {.weights = m.matrix(b.gate_up_key()).data,
                            .x = s.x,
                            .norm = m.vector(b.norm),
                            .eps = b.eps,
                            .gate_up = true,
                            .act = b.act},
                   .bank = s.bank};
  p.gemv.part[0] = {scratch<float>(m, kExpertHidden), nullptr, b.gate_up(m.tables()).n_out};
  return p;
}

BankGemvParams bank_down_params(const Banks& b, const Machine& m, const BankStep& s) {
  BankGemvParams p{
      .gemv = {.weights = m.matrix(b.down_key()).data, .x = scratch<float>(m, kExpertHidden), .residual = s.x},
      .bank = s.bank,
      .known = BankKnown::kEarly};
  p.gemv.part[0] = {s.out, nullptr, b.down(m.tables()).n_out};
  return p;
}

SwapRouteParams route_params(const SwapRoute& op, const Machine& m, float* out, int32_t* bank) {
  return {.v = m.value(op.v),
          .ram = optional(m, op.ram),
          .streams = ids(m, op.streams),
          .first = op.first,
          .norm = m.vector(op.norm),
          .router = m.vector(op.router),
          .router_bias = m.vector(op.router_bias),
          .switches = m.vector(op.switches),
          .switch_bias = m.vector(op.switch_bias),
          .read = m.vector(op.read),
          .read_bias = m.vector(op.read_bias),
          .out = out,
          .bank = bank,
          .streams_out = ids(m, op.streams_out),
          .position = m.position(),
          .first_row = u32(m.first_row),
          .d = u32(m.width(op.v)),
          .n_banks = u32(op.n_banks(m.tables())),
          .eps = op.eps,
          .hooks = hooks_of(op.hooks, m)};
}

SwapCollapseParams collapse_params(const SwapCollapse& op, const Machine& m) {
  return {.v = m.value(op.v),
          .ram = m.value(op.ram),
          .streams = ids(m, op.streams),
          .residual = m.value(op.residual),
          .norm = m.vector(op.norm),
          .w = m.vector(op.w),
          .bias = m.vector(op.bias),
          .out = m.value(op.out),
          .position = m.position(),
          .first_row = u32(m.first_row),
          .d = u32(m.width(op.v)),
          .eps = op.eps,
          .hooks = hooks_of(op.hooks, m)};
}

namespace {

void launch_wide(const Banks& b, Machine& m, const BankGemvParams& params) {
  const ExpertShape shape = b.gate_up(m.tables());
  const GemvChoice choice = m.choices.of(m.matrix(b.gate_up_key()));
  launch_bank_gemv(m.queue, shape, tune_bank_gemv(shape, true, m.device, choice), params);
}

void launch_narrow(const Banks& b, Machine& m, const BankGemvParams& params) {
  const ExpertShape shape = b.down(m.tables());
  const GemvChoice choice = m.choices.of(m.matrix(b.down_key()));
  launch_bank_gemv(m.queue, shape, tune_bank_gemv(shape, false, m.device, choice), params);
}

void sort_banks(const Banks& b, Machine& m, const BankStep& s) {
  launch_sort_pairs(m.queue, {.ids = s.bank,
                              .n_pairs = s.rows,
                              .n_experts = b.gate_up(m.tables()).n_experts,
                              .pairs = scratch<uint32_t>(m, kExpertPairs),
                              .tiles = scratch<ExpertTile>(m, kExpertTiles)});
}

// Rows sorted already. Its last product goes to s.out, which is not s.x, and the residual is added there.
void run_large(const Banks& b, Machine& m, const BankStep& s) {
  const ExpertShape wide = b.gate_up(m.tables()), narrow = b.down(m.tables());
  const uint32_t max_tiles = u32(max_expert_tiles(s.rows, wide.n_experts));
  launch_rms_norm(m.queue, s.rows, expert_dense_type(wide.packed.type),
                  {.x = s.x,
                   .weight = m.vector(b.norm),
                   .out = m.experts[kExpertInput],
                   .group = wide.n_in,
                   .stride = expert_dense_stride(wide),
                   .eps = b.eps,
                   .split = m.splits});
  ExpertGemmParams gemm{.weights = m.matrix(b.gate_up_key()).data,
                        .pairs = scratch<uint32_t>(m, kExpertPairs),
                        .tiles = scratch<ExpertTile>(m, kExpertTiles),
                        .top_k = 1,
                        .x = m.experts[kExpertInput],
                        .gate_up = true,
                        .out = m.experts[kExpertHidden],
                        .out_is_f16 = expert_dense_type(narrow.packed.type) == DType::kF16,
                        .out_stride = expert_dense_stride(narrow),
                        .split = m.splits,
                        .act = b.act};
  launch_expert_gemm(m.queue, wide, max_tiles, gemm);
  gemm.weights = m.matrix(b.down_key()).data;
  gemm.x = m.experts[kExpertHidden];
  gemm.gate_up = false;
  gemm.out = s.out;
  launch_expert_gemm(m.queue, narrow, max_tiles, gemm);
  const uint64_t n = uint64_t{s.rows} * narrow.n_out;
  launch_add(m.queue, {.a = s.x, .b = s.out, .out = s.out, .n = n, .b_width = n});
}

void plan_route(const SwapRoute& op, Planner& p) {
  for (const WeightId w :
       {op.norm, op.router, op.router_bias, op.switches, op.switch_bias, op.read, op.read_bias, op.hooks.forced})
    p.vector(w);
}

bool routes(const SwapRoute& op, const Tables& t) {
  return op.n_banks(t) <= kMaxSwapBanks && decodes(op.norm, t) && decodes(op.router_bias, t) &&
         decodes(op.switch_bias, t) && decodes(op.read_bias, t);
}

// Row r of the step.
SwapRouteParams row_of(SwapRouteParams p, uint32_t r) {
  p.v += uint64_t{r} * p.d;
  if (p.ram != nullptr) p.ram += r * kStreams * p.d;
  if (p.streams != nullptr) p.streams += r * kStreamFields;
  p.bank += r;
  p.streams_out += r * kStreamFields;
  p.ram_out += r * kStreams * p.d;
  p.first_row += r;
  return p;
}

void run_small_event(const SwapEvent& op, Machine& m, const SwapRouteParams& route, float* out) {
  const Banks banks(op);
  BankStep s{.x = route.out, .bank = route.bank, .rows = 1};
  for (uint64_t k = 0; k < op.k_ffn; ++k) {
    const bool is_last = k + 1 == op.k_ffn;
    s.out = is_last ? out : scratch<float>(m, k % 2 == 0 ? kExpertDown : kExpertNormed);
    BankGemvParams wide = bank_gate_up_params(banks, m, s), narrow = bank_down_params(banks, m, s);
    wide.known = k == 0 ? BankKnown::kInside : BankKnown::kEarly;
    wide.keeps_bank = narrow.keeps_bank = !is_last;
    if (k == 0) wide.route = route;
    if (is_last) {
      narrow.streams = route.streams_out;
      narrow.ram = route.ram_out;
    }
    launch_wide(banks, m, wide);
    launch_narrow(banks, m, narrow);
    s.x = s.out;
  }
}

void run_large_event(const SwapEvent& op, Machine& m, const SwapRouteParams& route, uint32_t rows) {
  const Banks banks(op);
  BankStep s{.x = route.out, .bank = route.bank, .rows = rows};
  launch_swap_route(m.queue, rows, route);
  sort_banks(banks, m, s);
  for (uint64_t k = 0; k < op.k_ffn; ++k) {
    s.out = k + 1 == op.k_ffn ? m.value(op.out) : scratch<float>(m, k % 2 == 0 ? kExpertDown : kExpertNormed);
    run_large(banks, m, s);
    s.x = s.out;
  }
  launch_swap_write(
      m.queue, rows,
      {.v = s.out, .streams = route.streams_out, .ram = route.ram, .out = m.value(op.ram_out), .d = route.d});
}

StateRowsParams rows_of(StateId state, ValueId rows, const Machine& m) {
  return {.state = reinterpret_cast<uint32_t*>(m.cache(state)),
          .rows = reinterpret_cast<uint32_t*>(m.value(rows)),
          .position = m.position(),
          .first_row = u32(m.first_row),
          .width = u32(m.width(rows))};
}

}  // namespace

bool supports(const StateRead&, const Tables&) { return true; }
void plan(const StateRead&, Planner&) {}
void run(const StateRead& op, Machine& m) {
  StateRowsParams params = rows_of(op.state, op.out, m);
  params.lag = u32(op.lag);
  launch_state_rows(m.queue, u32(m.n_tokens), params);
}

bool supports(const StateWrite&, const Tables&) { return true; }
void plan(const StateWrite&, Planner&) {}
void run(const StateWrite& op, Machine& m) {
  StateRowsParams params = rows_of(op.state, op.x, m);
  params.writes = true;
  launch_state_rows(m.queue, u32(m.n_tokens), params);
}

bool supports(const SwapRoute& op, const Tables& t) { return routes(op, t); }
void plan(const SwapRoute& op, Planner& p) { plan_route(op, p); }
void run(const SwapRoute& op, Machine& m) {
  launch_swap_route(m.queue, u32(m.n_tokens), route_params(op, m, m.value(op.out), ids(m, op.bank)));
}

bool supports(const SwapWrite&, const Tables&) { return true; }
void plan(const SwapWrite&, Planner&) {}
void run(const SwapWrite& op, Machine& m) {
  launch_swap_write(m.queue, u32(m.n_tokens),
                    {.v = m.value(op.v),
                     .streams = ids(m, op.streams),
                     .ram = optional(m, op.ram),
                     .out = m.value(op.out),
                     .d = u32(m.width(op.v))});
}

bool supports(const SwapCollapse& op, const Tables& t) { return decodes(op.norm, t) && decodes(op.bias, t); }
void plan(const SwapCollapse& op, Planner& p) {
  for (const WeightId w : {op.norm, op.w, op.bias, op.hooks.forced}) p.vector(w);
}
void run(const SwapCollapse& op, Machine& m) { launch_swap_collapse(m.queue, u32(m.n_tokens), collapse_params(op, m)); }

bool supports(const BankFfn& op, const Tables& t) { return Banks(op).supported(t); }
void plan(const BankFfn& op, Planner& p) { Banks(op).plan(p, p.max_rows(op.x)); }
void run(const BankFfn& op, Machine& m) {
  const Banks banks(op);
  const BankStep s{.x = m.value(op.x), .bank = ids(m, op.bank), .out = m.value(op.out), .rows = u32(m.rows(op.x))};
  if (s.rows == 0) return;
  if (banks.is_large(m.tables(), s.rows)) {
    sort_banks(banks, m, s);
    return run_large(banks, m, s);
  }
  for (uint32_t r = 0; r < s.rows; ++r) {
    const uint64_t at = r * m.width(op.x);
    const BankStep row{.x = s.x + at, .bank = s.bank + r, .out = s.out + at, .rows = 1};
    launch_wide(banks, m, bank_gate_up_params(banks, m, row));
    launch_narrow(banks, m, bank_down_params(banks, m, row));
  }
}

// Other widths in pieces.
bool supports(const SwapEvent& op, const Tables& t) {
  return t[op.out].width % 4 == 0 && routes(op.route, t) && Banks(op).supported(t);
}
void plan(const SwapEvent& op, Planner& p) {
  plan_route(op.route, p);
  Banks(op).plan(p, p.max_rows(op.out));
}
void run(const SwapEvent& op, Machine& m) {
  const auto rows = u32(m.n_tokens);
  SwapRouteParams route = route_params(op.route, m, scratch<float>(m, kExpertNormed), scratch<int32_t>(m, kExpertIds));
  if (Banks(op).is_large(m.tables(), rows)) return run_large_event(op, m, route, rows);
  route.ram_out = m.value(op.ram_out);
  for (uint32_t r = 0; r < rows; ++r) run_small_event(op, m, row_of(route, r), m.value(op.out) + uint64_t{r} * route.d);
}

}  // namespace stretto::cuda
