#include "models/blocks/decoder.h"

#include <fmt/format.h>

#include "base/error.h"

namespace stretto {
namespace {

struct Projection {
  WeightId w, bias;
};

// One of q, k, v: from its own tensor or from rows of the fused one.
Projection projection(ModelReader& reader, const DecoderSpec& spec, int layer, char which) {
  const uint64_t q_rows = spec.n_heads * spec.head_dim, kv_rows = spec.n_kv_heads * spec.head_dim;
  const uint64_t rows = which == 'q' ? q_rows : kv_rows;
  const uint64_t first = which == 'q' ? 0 : which == 'k' ? q_rows : q_rows + kv_rows;
  const uint64_t fused_rows = q_rows + 2 * kv_rows;
  ModelReader::Layout layout;
  if (reader.is_gguf() && spec.gguf_interleaved_pairs && which != 'v')
    layout = {.order = RowOrder::kInterleavedPairs, .head_dim = spec.head_dim};
  const std::string role = std::string("attn_") + which, bias_role = role + ".bias";
  const Shape shape{rows, spec.d_model};
  if (!reader.has("attn_qkv", layer))
    return {reader.weight(role, layer, shape, layout), reader.find_weight(bias_role, layer, Shape{rows}, layout)};
  Projection p{reader.weight_rows(role, "attn_qkv", layer, shape, first, fused_rows, layout), {}};
  if (reader.has("attn_qkv.bias", layer))
    p.bias = reader.weight_rows(bias_role, "attn_qkv.bias", layer, Shape{rows}, first, fused_rows, layout);
  return p;
}

StateId cache(Recorder& rec, const DecoderSpec& spec, int layer, char which, DType type) {
  return rec.state({.name = fmt::format("blk.{}.{}_cache", layer, which),
                    .type = type,
                    .growth = Growth::kPerPosition,
                    .width = spec.n_kv_heads * spec.head_dim});
}

}  // namespace

ValueId attention_block(ModelReader& reader, const DecoderSpec& spec, int layer, ValueId x, DType kv_type) {
  if (spec.head_dim % info(kv_type).block_elements != 0)
    fail(ErrorKind::kUnsupported,
         "a {} cache has blocks of {} elements, and this model's heads have {}: take another --cache-type (f8_e4m3, "
         "f16)",
         name(kv_type), info(kv_type).block_elements, spec.head_dim);
  Recorder& rec = reader.recorder();
  const uint64_t q_width = spec.n_heads * spec.head_dim, kv_width = spec.n_kv_heads * spec.head_dim;

  const ValueId q = rec.value("q", q_width), k = rec.value("k", kv_width), v = rec.value("v", kv_width);
  NormLinear qkv{.x = x,
                 .norm = reader.weight("attn_norm", layer, Shape{spec.d_model}),
                 .eps = spec.rms_eps,
                 .part = {},
                 .n_parts = 3};
  const std::array<std::pair<char, ValueId>, 3> outputs{{{'q', q}, {'k', k}, {'v', v}}};
  for (size_t i = 0; i < outputs.size(); ++i) {
    const Projection p = projection(reader, spec, layer, outputs[i].first);
    qkv.part[i] = {p.w, p.bias, outputs[i].second};
  }
  rec.emit("attn_qkv", qkv);

  RopeAttention attention{.q = q,
                          .k = k,
                          .v = v,
                          .q_norm = {},
                          .k_norm = {},
                          .k_cache = cache(rec, spec, layer, 'k', kv_type),
                          .v_cache = cache(rec, spec, layer, 'v', kv_type),
                          .out = rec.value("attn", q_width),
                          .rope = spec.rope,
                          .n_heads = spec.n_heads,
                          .n_kv_heads = spec.n_kv_heads,
                          .head_dim = spec.head_dim,
                          .window = spec.window,
                          .scale = spec.attn_scale,
                          .eps = spec.rms_eps};
  if (spec.qk_norm) {
    attention.q_norm = reader.weight("attn_q_norm", layer, Shape{spec.head_dim});
    attention.k_norm = reader.weight("attn_k_norm", layer, Shape{spec.head_dim});
  }
  rec.emit("attn", attention);

  const ValueId out = rec.value("x_attn", spec.d_model);
  rec.emit("attn_output", LinearAdd{.x = attention.out,
                                    .w = reader.weight("attn_output", layer, Shape{spec.d_model, q_width}),
                                    .bias = reader.find_weight("attn_output.bias", layer, Shape{spec.d_model}),
                                    .residual = x,
                                    .out = out});
  return out;
}

}  // namespace stretto
