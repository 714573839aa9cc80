// The swap module of a layer: events that route, read, run a bank and write, then a collapse. With token-local memory
// every token starts from nothing and tokens are independent; carried memory makes the module sequential in the tokens
// of a step, and its end is a state.
#include <fmt/format.h>

#include "models/blocks/decoder.h"

namespace stretto {
namespace {

class SwapModule {
 public:
  SwapModule(ModelReader& reader, const DecoderSpec& spec, uint64_t index, const SwapHookIds& hooks)
      : reader_(reader),
        rec_(reader.recorder()),
        spec_(spec),
        swap_(spec.swap),
        hooks_(hooks),
        layer_(static_cast<int>(spec.swap.layers[index])),
        first_column_(index * swap_trace_columns(spec.swap.n_events)) {}

  ValueId build(ValueId x) {
    v_ = rec_.value("swap_v", spec_.d_model);
    rec_.emit("swap_norm", RmsNorm{.x = x,
                                   .weight = reader_.weight("ffn_norm", layer_, Shape{spec_.d_model}),
                                   .out = v_,
                                   .group = spec_.d_model,
                                   .eps = spec_.rms_eps});
    const Shape wide{swap_.n_banks, spec_.d_ff, spec_.d_model}, narrow{swap_.n_banks, spec_.d_model, spec_.d_ff};
    w1_ = reader_.weight("swap_w1", layer_, wide);
    w3_ = reader_.weight("swap_w3", layer_, wide);
    w2_ = reader_.weight("swap_w2", layer_, narrow);
    rec_.set_sequential(!swap_.token_local);
    const StateId ram = swap_.token_local ? StateId{} : state("ram", DType::kF32, kStreams * spec_.d_model);
    const StateId streams = swap_.token_local ? StateId{} : state("streams", DType::kI32, kStreamFields);
    if (!swap_.token_local) {
      ram_ = rec_.value("ram", kStreams * spec_.d_model);
      streams_ = rec_.value("streams", kStreamFields, Rows::kTokens, DType::kI32);
      rec_.emit("swap_state", StateRead{.state = ram, .out = ram_, .lag = 1});
      rec_.emit("swap_state", StateRead{.state = streams, .out = streams_, .lag = 1});
    }
    for (uint64_t e = 0; e < swap_.n_events; ++e) event(e);
    const ValueId out = collapse(x);
    if (!swap_.token_local) {
      rec_.emit("swap_state", StateWrite{.x = ram_, .state = ram});
      rec_.emit("swap_state", StateWrite{.x = streams_, .state = streams});
    }
    rec_.set_sequential(false);
    return out;
  }

 private:
  StateId state(const char* what, DType type, uint64_t width) {
    return rec_.state({.name = fmt::format("blk.{}.swap_{}", layer_, what),
                       .type = type,
                       .growth = Growth::kPerPosition,
                       .width = width});
  }

  // Event e's part of a stored [n_events, ...].
  WeightId part(std::string_view role, uint64_t e, const Shape& stored, const Shape& shape) {
    return reader_.weight_part(role, layer_, stored, e, shape);
  }

  SwapHooks hooks(uint64_t decision) const {
    return {.forced = hooks_.forced,
            .trace = hooks_.trace,
            .column = first_column_ + decision,
            .margin_column = first_column_ + swap_.n_events + 1 + decision};
  }

  void event(uint64_t e) {
    const uint64_t d = spec_.d_model, n = swap_.n_events, b = swap_.n_banks;
    const SwapRoute route{.v = v_,
                          .ram = ram_,
                          .streams = streams_,
                          .first = e == 0,
                          .norm = part("swap_event_norm", e, Shape{n, d}, Shape{d}),
                          .router = part("swap_router", e, Shape{n, b, d}, Shape{b, d}),
                          .router_bias = part("swap_router.bias", e, Shape{n, b}, Shape{b}),
                          .switches = part("swap_switch", e, Shape{n, kSwitches, d}, Shape{kSwitches, d}),
                          .switch_bias = part("swap_switch.bias", e, Shape{n, kSwitches}, Shape{kSwitches}),
                          .read = part("swap_read", e, Shape{n, d}, Shape{1, d}),
                          .read_bias = part("swap_read.bias", e, Shape{n}, Shape{1}),
                          .out = {},
                          .bank = {},
                          .streams_out = rec_.value("streams", kStreamFields, Rows::kTokens, DType::kI32),
                          .eps = spec_.rms_eps,
                          .hooks = hooks(e)};
    const SwapEvent event{.route = route,
                          .w_gate = w1_,
                          .w_up = w3_,
                          .w_down = w2_,
                          .k_ffn = swap_.k_ffn,
                          .out = rec_.value("swap_v", d),
                          .ram_out = rec_.value("ram", kStreams * d),
                          .act = spec_.act};
    rec_.emit("swap_event", event);
    streams_ = route.streams_out;
    v_ = event.out;
    ram_ = event.ram_out;
  }

  ValueId collapse(ValueId x) {
    const uint64_t d = spec_.d_model;
    const ModelReader::Layout f32{.as_f32 = true};
    const ValueId out = rec_.value("x_ffn", d);
    rec_.emit("swap_collapse", SwapCollapse{.v = v_,
                                            .ram = ram_,
                                            .streams = streams_,
                                            .residual = x,
                                            .norm = reader_.weight("swap_collapse_norm", layer_, Shape{d}),
                                            .w = reader_.weight("swap_collapse", layer_, Shape{kStreams, d}, f32),
                                            .bias = reader_.weight("swap_collapse.bias", layer_, Shape{kStreams}),
                                            .out = out,
                                            .eps = spec_.rms_eps,
                                            .hooks = hooks(swap_.n_events)});
    return out;
  }

  ModelReader& reader_;
  Recorder& rec_;
  const DecoderSpec& spec_;
  const SwapSpec& swap_;
  const SwapHookIds hooks_;
  const int layer_;
  const uint64_t first_column_;
  WeightId w1_, w3_, w2_;
  ValueId v_, ram_, streams_;
};

}  // namespace

ValueId swap_block(ModelReader& reader, const DecoderSpec& spec, uint64_t index, ValueId x, const SwapHookIds& hooks) {
  return SwapModule(reader, spec, index, hooks).build(x);
}

}  // namespace stretto
