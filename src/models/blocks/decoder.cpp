#include "models/blocks/decoder.h"

#include <cstring>

#include "base/error.h"

namespace stretto {

namespace {

// Decisions must be such that no op indexes beyond its banks or streams.
void check_recording(const DecoderSpec& spec, const TensorView& table, uint64_t columns) {
  bool fits = table.type == DType::kF32 && table.shape.rank() == 2 && table.shape.cols() == columns;
  const uint64_t per_layer = swap_trace_columns(spec.swap.n_events);
  for (uint64_t i = 0; fits && i < table.shape.elements(); ++i) {
    const uint64_t column = i % columns % per_layer;
    if (column > spec.swap.n_events) continue;  // margins and maps are not read
    float decision = 0;
    std::memcpy(&decision, table.bytes.data() + i * sizeof(float), sizeof(float));
    const uint64_t limit = column == spec.swap.n_events ? kStreams : spec.swap.n_banks << kSwitches;
    fits = decision >= 0 && decision < static_cast<float>(limit);
  }
  if (!fits)
    fail(ErrorKind::kBadArgument, "the recording of decisions is {} {}, or not of this model: wanted F32 [n, {}]",
         name(table.type), table.shape.str(), columns);
}

SwapHookIds swap_hooks(Recorder& rec, const DecoderSpec& spec, const SwapRecording& recording) {
  SwapHookIds ids;
  const bool forced = !recording.forced.bytes.empty();
  if (!forced && !recording.trace) return ids;
  if (spec.swap.layers.empty()) fail(ErrorKind::kBadArgument, "this model has no swap layers to record");
  const uint64_t columns = spec.swap.layers.size() * swap_trace_columns(spec.swap.n_events);
  if (forced) {
    check_recording(spec, recording.forced, columns);
    const Shape& shape = recording.forced.shape;
    ids.forced = rec.weight({"swap_decisions", DType::kF32, shape},
                            {{{.source = recording.forced, .first_row = 0, .n_rows = shape.rows()}}});
  }
  if (recording.trace)
    ids.trace =
        rec.state({.name = "swap_trace", .type = DType::kF32, .growth = Growth::kPerPosition, .width = columns});
  return ids;
}

// In place of the head: the recording itself, a row per wanted position.
Program finish_with_trace(Recorder& rec, StateId trace) {
  const uint64_t columns = rec.tables()[trace].width;
  const ValueId rows = rec.value("trace", columns), last = rec.value("trace_out", columns, Rows::kOutputs);
  rec.emit("swap_trace", StateRead{.state = trace, .out = rows});
  rec.emit("take_outputs", TakeOutputs{.x = rows, .out = last});
  return rec.finish(last);
}

}  // namespace

Program build_decoder(ModelReader& reader, const DecoderSpec& spec, DType kv_type, const SwapRecording& recording) {
  Recorder& rec = reader.recorder();
  const SwapHookIds hooks = swap_hooks(rec, spec, recording);
  const Shape table{spec.vocab_size, spec.d_model};
  const WeightId embedding = reader.weight("token_embd", -1, table);
  ValueId x = rec.value("x", spec.d_model);
  rec.emit("embed", Embed{.table = embedding, .out = x});
  uint64_t n_swapped = 0;
  for (uint64_t layer = 0; layer < spec.n_layers; ++layer) {
    const auto l = static_cast<int>(layer);
    rec.set_layer(l);
    x = attention_block(reader, spec, l, x, kv_type);
    const bool swaps = n_swapped < spec.swap.layers.size() && spec.swap.layers[n_swapped] == layer;
    x = swaps ? swap_block(reader, spec, n_swapped++, x, hooks) : ffn_block(reader, spec, l, x);
  }
  rec.set_layer(-1);
  if (hooks.trace) {
    for (const char* role : {"output_norm", "output"}) reader.ignore_tensor(role, -1);
    return finish_with_trace(rec, hooks.trace);
  }

  // Only the positions whose logits are wanted pass the last norm and the head.
  const ValueId last = rec.value("x_out", spec.d_model, Rows::kOutputs);
  rec.emit("take_outputs", TakeOutputs{.x = x, .out = last});
  const ValueId logits = rec.value("logits", spec.vocab_size, Rows::kOutputs);
  const WeightId head = spec.tied ? embedding : reader.weight("output", -1, table);
  if (spec.tied) reader.ignore_tensor("output", -1);
  NormLinear head_op{.x = last,
                     .norm = reader.weight("output_norm", -1, Shape{spec.d_model}),
                     .eps = spec.rms_eps,
                     .part = {},
                     .n_parts = 1};
  head_op.part[0] = {head, {}, logits};
  rec.emit("head", head_op);
  return rec.finish(logits);
}

}  // namespace stretto
