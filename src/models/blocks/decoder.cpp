#include "models/blocks/decoder.h"

namespace stretto {

Program build_decoder(ModelReader& reader, const DecoderSpec& spec, DType kv_type) {
  Recorder& rec = reader.recorder();
  const Shape table{spec.vocab_size, spec.d_model};
  const WeightId embedding = reader.weight("token_embd", -1, table);
  ValueId x = rec.value("x", spec.d_model);
  rec.emit("embed", Embed{.table = embedding, .out = x});
  for (int layer = 0; layer < static_cast<int>(spec.n_layers); ++layer) {
    rec.set_layer(layer);
    x = attention_block(reader, spec, layer, x, kv_type);
    x = ffn_block(reader, spec, layer, x);
  }
  rec.set_layer(-1);

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
