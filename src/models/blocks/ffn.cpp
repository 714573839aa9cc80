#include "models/blocks/decoder.h"

namespace stretto {
namespace {

ValueId dense_ffn(ModelReader& reader, const DecoderSpec& spec, int layer, ValueId x) {
  Recorder& rec = reader.recorder();
  const Shape wide{spec.d_ff, spec.d_model}, narrow{spec.d_model, spec.d_ff};
  const ValueId hidden = rec.value("ffn", spec.d_ff), out = rec.value("x_ffn", spec.d_model, rec.tables()[x].rows);
  rec.emit("ffn_gate_up", NormGateUp{.x = x,
                                     .norm = reader.weight("ffn_norm", layer, Shape{spec.d_model}),
                                     .w_gate = reader.weight("ffn_gate", layer, wide),
                                     .w_up = reader.weight("ffn_up", layer, wide),
                                     .b_gate = reader.find_weight("ffn_gate.bias", layer, Shape{spec.d_ff}),
                                     .b_up = reader.find_weight("ffn_up.bias", layer, Shape{spec.d_ff}),
                                     .out = hidden,
                                     .eps = spec.rms_eps,
                                     .act = spec.act});
  rec.emit("ffn_down", LinearAdd{.x = hidden,
                                 .w = reader.weight("ffn_down", layer, narrow),
                                 .bias = reader.find_weight("ffn_down.bias", layer, Shape{spec.d_model}),
                                 .residual = x,
                                 .out = out});
  return out;
}

ValueId experts(ModelReader& reader, const DecoderSpec& spec, int layer, ValueId x) {
  Recorder& rec = reader.recorder();
  const MoeSpec& moe = spec.moe;
  const Shape wide{moe.n_experts, moe.d_ff, spec.d_model}, narrow{moe.n_experts, spec.d_model, moe.d_ff};
  MoeBlock block{.x = x,
                 .norm = reader.weight("ffn_norm", layer, Shape{spec.d_model}),
                 .router = reader.weight("ffn_router", layer, Shape{moe.n_experts, spec.d_model},
                                         ModelReader::Layout{.as_f32 = true}),
                 .w_gate = {},
                 .w_up = {},
                 .w_down = {},
                 .out = rec.value("x_ffn", spec.d_model),
                 .top_k = moe.top_k,
                 .renormalise = moe.renormalise,
                 .weight_scale = moe.weight_scale,
                 .eps = spec.rms_eps,
                 .act = spec.act};
  if (reader.has("ffn_gate_up_exps", layer)) {
    block.w_gate = reader.expert_half("ffn_gate_exps", "ffn_gate_up_exps", layer, wide, 0);
    block.w_up = reader.expert_half("ffn_up_exps", "ffn_gate_up_exps", layer, wide, 1);
  } else {
    block.w_gate = reader.expert_weight("ffn_gate_exps", layer, wide);
    block.w_up = reader.expert_weight("ffn_up_exps", layer, wide);
  }
  block.w_down = !reader.is_gguf() && reader.has("ffn_down_exps.stacked", layer)
                     ? reader.weight("ffn_down_exps.stacked", layer, narrow)
                     : reader.expert_weight("ffn_down_exps", layer, narrow);
  rec.emit("ffn_moe", block);
  return block.out;
}

}  // namespace

ValueId ffn_block(ModelReader& reader, const DecoderSpec& spec, int layer, ValueId x) {
  return spec.moe.n_experts == 0 ? dense_ffn(reader, spec, layer, x) : experts(reader, spec, layer, x);
}

}  // namespace stretto
