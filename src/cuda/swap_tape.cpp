// Swap layers on the tape of the persistent stream (device/stream_swap.cuh).
//
// An event is 1 + 2 k_ffn phases: its routing, then gate and up, and down, of each step. Only the first segment of an
// event waits for a decision of the device. The rows of memory are the results of the events that wrote them, so every
// event has a result of its own, and its inner vectors too: nothing of a token is written twice.
#include <algorithm>

#include "cuda/ops.h"
#include "cuda/swap_banks.h"

namespace stretto::cuda {
namespace {

uint32_t u32(uint64_t v) { return static_cast<uint32_t>(v); }

// One product of the event's bank, in step k of its FFN.
void add_bank_product(const ExpertShape& shape, const GemvParams& params, uint64_t k, uint64_t k_ffn, StreamTape& t) {
  t.add_product(bank_shape(shape), params, false);
  for (StreamSegment* s : {&t.segments.back(), &t.phases.back().linear.product[0].segment}) {
    s->routed = k == 0 && params.gate_up;
    s->keeps_bank = k + 1 < k_ffn;
    s->bank_bytes = shape.expert_bytes();
  }
}

// The memory that an event finds: the layer's, or what a state holds, or none.
bool begins(const SwapRoute& op, const StreamMemoryTape& memory) {
  return (!op.ram || op.ram == memory.read_ram) && (!op.streams || op.streams == memory.read_streams);
}

}  // namespace

// Floats of an event beside its result.
uint64_t stream_event_floats(const SwapEvent& op, const Tables& t) {
  const uint64_t d = StreamTape::taken(t[op.out].width), d_ff = StreamTape::taken(t[op.w_gate].shape[1]);
  return op.k_ffn * (d + d_ff);
}

void tape(const StateRead& op, const Machine& m, StreamTape& t) {
  if (op.lag != 1) {  // the recording of decisions at a program's end
    t.problem = std::string(StateRead::kName);
    return;
  }
  if (m.tables()[op.out].type == DType::kI32) {
    t.memory.read_streams = op.out;
    t.memory.streams_state = reinterpret_cast<const int32_t*>(m.cache(op.state));
  } else {
    t.memory.read_ram = op.out;
    t.memory.ram_state = reinterpret_cast<const float*>(m.cache(op.state));
  }
}

void tape(const StateWrite& op, const Machine& m, StreamTape& t) {
  const bool is_ram = op.x == t.memory.ram, is_streams = op.x == t.memory.streams;
  if (!is_ram && !is_streams) {
    t.problem = std::string(StateWrite::kName);
    return;
  }
  if (t.phases.back().kind != StreamKind::kState) t.add(StreamKind::kState);
  StreamState& state = t.phases.back().state;
  state.d = u32(m.width(t.memory.v));
  if (is_ram) state.ram = reinterpret_cast<float*>(m.cache(op.state));
  if (is_streams) state.streams = reinterpret_cast<int32_t*>(m.cache(op.state));
}

void tape(const SwapEvent& op, const Machine& m, StreamTape& t) {
  StreamMemoryTape& memory = t.memory;
  const bool first = begins(op.route, memory);
  if (op.route.hooks.trace || m.width(op.out) % 4 != 0 ||
      (!first && (op.route.ram != memory.ram || op.route.streams != memory.streams || op.route.v != memory.v))) {
    t.problem = op.route.hooks.trace ? "the recording of a swap layer's decisions" : std::string(SwapEvent::kName);
    return;
  }
  const Banks banks(op);
  const ExpertShape wide = banks.gate_up(m.tables()), narrow = banks.down(m.tables());
  const uint64_t d = m.width(op.out);
  StreamRoute route{.op = route_params(op.route, m, nullptr, nullptr),
                    .begins = first,
                    .residual = t.take(d),
                    .result = m.value(op.out)};
  route.op.ram = first && op.route.ram ? memory.ram_state : nullptr;
  route.op.streams = first && op.route.streams ? memory.streams_state : nullptr;
  const size_t at = t.phases.size();
  t.add(StreamKind::kRoute);
  const float* x = nullptr;  // what the routing has left in shared memory
  const float* residual = route.residual;
  for (uint64_t k = 0; k < op.k_ffn; ++k) {
    const bool is_last = k + 1 == op.k_ffn;
    const BankStep step{.x = x, .out = is_last ? m.value(op.out) : t.take(d), .rows = 1};
    GemvParams up = bank_gate_up_params(banks, m, step).gemv, down = bank_down_params(banks, m, step).gemv;
    float* const hidden = t.take(m.tables()[op.w_gate].shape[1]);
    up.part[0].out = hidden;
    down.x = hidden;
    down.residual = residual;
    add_bank_product(wide, up, k, op.k_ffn, t);
    add_bank_product(narrow, down, k, op.k_ffn, t);
    residual = x = step.out;
  }
  const StreamLinear& first_product = t.phases[at + 1].linear;
  route.kept = first_product.sums;
  route.padded = first_product.padded;
  route.down = t.phases[at + 2].linear.product[0].segment;
  t.phases[at].route = route;
  memory.v = op.out;
  memory.ram = op.ram_out;
  memory.streams = op.route.streams_out;
}

void tape(const SwapCollapse& op, const Machine& m, StreamTape& t) {
  if (op.hooks.trace || op.v != t.memory.v || op.ram != t.memory.ram || op.streams != t.memory.streams) {
    t.problem = std::string(SwapCollapse::kName);
    return;
  }
  t.add(StreamKind::kCollapse).collapse.op = collapse_params(op, m);
}

}  // namespace stretto::cuda
