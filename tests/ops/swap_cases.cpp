#include "ops/swap_cases.h"

#include <algorithm>

#include "formats/activation.h"

namespace stretto::test {
namespace {

constexpr double kPlain = 1e-11;
constexpr double kChain = 1e-9;  // a layer, the rounding of one event entering the next

// A layer of events, as the architecture's block writes it, or with the events in their pieces.
struct Layer {
  uint64_t d = 0, d_ff = 0, n_banks = 4, n_events = 3, k_ffn = 2;
  bool carried = false, in_pieces = false;
  DType type = DType::kF32;  // of the banks
  std::vector<uint64_t> steps = {1, 3, 17};
};

struct Built {
  ValueId ram, streams, v, out;
};

SwapRoute route_of(CaseBuilder& b, const Layer& l, const Built& at, bool first) {
  const uint64_t d = l.d;
  return {.v = at.v,
          .ram = at.ram,
          .streams = at.streams,
          .first = first,
          .norm = b.weight(DType::kF32, {d}),
          .router = b.weight(DType::kF32, {l.n_banks, d}),
          .router_bias = b.weight(DType::kF32, {l.n_banks}),
          .switches = b.weight(DType::kF32, {kSwitches, d}),
          .switch_bias = b.weight(DType::kBF16, {kSwitches}),
          .read = b.weight(DType::kF32, {1, d}),
          .read_bias = b.weight(DType::kF32, {1}),
          .out = b.value(d),
          .bank = b.value(1, DType::kI32),
          .streams_out = b.value(kStreamFields, DType::kI32),
          .eps = 1e-5F,
          .hooks = {}};
}

// One event in its pieces; moves `at` on.
void emit_pieces(CaseBuilder& b, const Layer& l, const SwapRoute& route, const WeightId (&w)[3], Built& at) {
  b.emit(route);
  at.v = route.out;
  for (uint64_t k = 0; k < l.k_ffn; ++k) {
    const ValueId next = b.value(l.d);
    b.emit(BankFfn{.x = at.v,
                   .bank = route.bank,
                   .norm = route.norm,
                   .w_gate = w[0],
                   .w_up = w[1],
                   .w_down = w[2],
                   .out = next,
                   .eps = 1e-5F});
    at.v = next;
  }
  const ValueId written = b.value(kStreams * l.d);
  b.emit(SwapWrite{.v = at.v, .streams = route.streams_out, .ram = at.ram, .out = written});
  at.ram = written;
}

void emit_event(CaseBuilder& b, const Layer& l, const SwapRoute& whole, const WeightId (&w)[3], Built& at) {
  SwapRoute route = whole;
  route.out = route.bank = {};
  const SwapEvent event{.route = route,
                        .w_gate = w[0],
                        .w_up = w[1],
                        .w_down = w[2],
                        .k_ffn = l.k_ffn,
                        .out = b.value(l.d),
                        .ram_out = b.value(kStreams * l.d)};
  b.emit(event);
  at.v = event.out;
  at.ram = event.ram_out;
}

Built build(CaseBuilder& b, const Layer& l, ValueId x) {
  const uint64_t d = l.d;
  const WeightId w1 = b.weight(l.type, {l.n_banks, l.d_ff, d}), w3 = b.weight(l.type, {l.n_banks, l.d_ff, d});
  const WeightId w2 = b.weight(l.type, {l.n_banks, d, l.d_ff});
  Built at{.ram = {}, .streams = {}, .v = x, .out = b.value(d)};
  StateId ram, streams;
  b.set_sequential(l.carried);
  if (l.carried) {
    ram = b.rows(DType::kF32, kStreams * d);
    streams = b.rows(DType::kI32, kStreamFields);
    at.ram = b.value(kStreams * d);
    at.streams = b.value(kStreamFields, DType::kI32);
    b.emit(StateRead{.state = ram, .out = at.ram, .lag = 1});
    b.emit(StateRead{.state = streams, .out = at.streams, .lag = 1});
  }
  for (uint64_t e = 0; e < l.n_events; ++e) {
    const SwapRoute route = route_of(b, l, at, e == 0);
    (l.in_pieces ? emit_pieces : emit_event)(b, l, route, {w1, w3, w2}, at);
    at.streams = route.streams_out;
  }
  b.emit(SwapCollapse{.v = at.v,
                      .ram = at.ram,
                      .streams = at.streams,
                      .residual = x,
                      .norm = b.weight(DType::kF32, {d}),
                      .w = b.weight(DType::kF32, {kStreams, d}),
                      .bias = b.weight(DType::kF32, {kStreams}),
                      .out = at.out,
                      .eps = 1e-5F,
                      .hooks = {}});
  if (l.carried) {
    b.emit(StateWrite{.x = at.ram, .state = ram});
    b.emit(StateWrite{.x = at.streams, .state = streams});
  }
  b.set_sequential(false);
  return at;
}

OpCase layer_case(const std::string& name, const Layer& l, uint32_t seed, double limit = kChain) {
  CaseBuilder b(seed);
  const Built built = build(b, l, b.input(l.d));
  const ValueId normed = b.value(l.d);  // carried rows outgrow float32
  b.emit(RmsNorm{.x = built.out, .weight = {}, .out = normed, .group = l.d, .eps = 1e-5F});
  return b.finish(name, normed, limit, l.steps);
}

void add_events(std::vector<OpCase>& out) {
  for (const uint64_t d : {1, 19, 64, 130}) {
    const Layer l{.d = d, .d_ff = 40};
    CaseBuilder b(1500);
    Built at{.ram = b.input(kStreams * d), .streams = {}, .v = b.input(d), .out = {}};
    const SwapRoute route = route_of(b, l, at, true);
    b.emit(route);
    out.push_back(b.finish("swap_route_" + std::to_string(d), route.out, kPlain));
    CaseBuilder w(1500);
    at = {.ram = w.input(kStreams * d), .streams = {}, .v = w.input(d), .out = {}};
    const SwapRoute before = route_of(w, l, at, true);
    w.emit(before);
    const ValueId written = w.value(kStreams * d);
    w.emit(SwapWrite{.v = before.out, .streams = before.streams_out, .ram = at.ram, .out = written});
    out.push_back(w.finish("swap_write_" + std::to_string(d), written, kPlain));
  }
}

void add_bank_ffn(std::vector<OpCase>& out) {
  for (const DType type : {DType::kF32, DType::kBF16, DType::kQ8_0, DType::kQ4_K}) {
    CaseBuilder b(1600);
    const uint64_t d = type == DType::kF32 ? 77 : 256, d_ff = type == DType::kF32 ? 51 : 512, n_banks = 3;
    const ValueId x = b.input(d), logits = b.input(n_banks), bank = b.value(1, DType::kI32), y = b.value(d);
    b.emit(RouterTopK{.logits = logits, .ids = bank, .weights = b.value(1), .top_k = 1});
    b.emit(BankFfn{.x = x,
                   .bank = bank,
                   .norm = b.weight(DType::kF32, {d}),
                   .w_gate = b.weight(type, {n_banks, d_ff, d}),
                   .w_up = b.weight(type, {n_banks, d_ff, d}),
                   .w_down = b.weight(type, {n_banks, d, d_ff}),
                   .out = y,
                   .eps = 1e-6F});
    out.push_back(b.finish("bank_ffn_" + std::string(name(type)), y, has_integer_dot(type) ? 5e-4 : kPlain));
  }
}

// Every position's sum of the inputs so far, and the inputs themselves through a state.
void add_state_rows(std::vector<OpCase>& out) {
  for (const uint64_t lag : {0, 1}) {
    CaseBuilder b(1700);
    const ValueId x = b.input(13), before = b.value(13), sum = b.value(13);
    const StateId state = b.rows(DType::kF32, 13);
    b.set_sequential(lag == 1);
    if (lag == 0) b.emit(StateWrite{.x = x, .state = state});
    b.emit(StateRead{.state = state, .out = before, .lag = lag});
    b.emit(Add{.a = x, .b = before, .out = sum});
    if (lag == 1) b.emit(StateWrite{.x = sum, .state = state});
    b.set_sequential(false);
    out.push_back(b.finish("state_rows_lag_" + std::to_string(lag), sum, 1e-12));
  }
}

}  // namespace

void add_swap_cases(std::vector<OpCase>& out) {
  add_state_rows(out);
  add_events(out);
  add_bank_ffn(out);
  for (const bool carried : {false, true}) {
    const std::string kind = carried ? "_carried" : "_local";
    for (const bool in_pieces : {false, true})
      out.push_back(layer_case("swap_layer" + kind + (in_pieces ? "_in_pieces" : ""),
                               {.d = 48, .d_ff = 40, .carried = carried, .in_pieces = in_pieces}, 1800));
    out.push_back(layer_case("swap_layer_one_bank" + kind,
                             {.d = 33, .d_ff = 20, .n_banks = 1, .n_events = 1, .k_ffn = 1, .carried = carried}, 1900));
  }
  // One event: rounded products would make a second one decide otherwise.
  for (const DType type : {DType::kBF16, DType::kQ8_0, DType::kQ4_K})
    out.push_back(layer_case("swap_layer_" + std::string(name(type)),
                             {.d = 256, .d_ff = 512, .n_events = 1, .k_ffn = 3, .type = type}, 1950,
                             has_integer_dot(type) ? 2e-3 : kPlain));
  out.push_back(layer_case("swap_layer_outgrows_float32",
                           {.d = 24, .d_ff = 16, .n_events = 8, .k_ffn = 1, .carried = true, .steps = {90, 1, 9}},
                           2000));
}

}  // namespace stretto::test
