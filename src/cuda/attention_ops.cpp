// Rotary embedding, cache and attention.
#include <fmt/format.h>

#include "cuda/attention.h"
#include "cuda/elementwise.h"
#include "cuda/ops.h"
#include "cuda/prefill_attention.h"
#include "formats/cache_formats.h"

namespace stretto::cuda {
namespace {

uint32_t u32(uint64_t v) { return static_cast<uint32_t>(v); }

// `head_dim` may be that of several heads side by side.
bool are_caches(StateId k, StateId v, uint64_t head_dim, const Tables& t) {
  return is_cache_type(t[k].type) && t[k].type == t[v].type && head_dim % info(t[k].type).block_elements == 0;
}

DecodeAttentionTuning tuning_of(const RopeAttention& op, DType cache_type, const DeviceShape& device,
                                const DecodeAttentionChoice& c) {
  return tune_decode_attention(cache_type, u32(op.n_heads), u32(op.n_kv_heads), u32(op.head_dim), device, c);
}

DecodeAttentionParams attention_params(const RopeAttention& op, const Machine& m) {
  const DecodeAttentionTuning tuning = tuning_of(op, m.tables()[op.k_cache].type, m.device, m.attention_choice());
  return {.q = m.value(op.q),
          .k = m.value(op.k),
          .v = m.value(op.v),
          .q_norm = m.vector(op.q_norm),
          .k_norm = m.vector(op.k_norm),
          .k_cache = m.cache(op.k_cache),
          .v_cache = m.cache(op.v_cache),
          .n_ctx = m.layout(op.k_cache).n_ctx,
          .out = m.value(op.out),
          .out_quantized = m.quantized_row(op.out, 0),
          .rows = m.rope(op.rope.get()).rows,
          .apply_temperature = op.rope->temperature_beta != 0,
          .position = m.position(),
          .n_heads = u32(op.n_heads),
          .n_kv_heads = u32(op.n_kv_heads),
          .head_dim = u32(op.head_dim),
          .window = u32(op.window),
          .scale = op.scale,
          .eps = op.eps,
          .partial = m.partial,
          .n_arrived = m.n_arrived,
          .n_splits = tuning.n_splits,
          .min_granules = tuning.min_granules,
          .n_stages = tuning.n_stages,
          .n_early_stages = tuning.n_early_stages,
          .trigger = tuning.trigger};
}

// Up to kMaxGemvRows tokens with the kernel of one.
void run_few(const RopeAttention& op, Machine& m) {
  static_assert(kMaxGemvRows <= kMaxAttentionTokens);
  launch_decode_attention(m.queue, m.tables()[op.k_cache].type, u32(m.n_tokens), m.device.n_sm,
                          attention_params(op, m));
}

void run_many(const RopeAttention& op, Machine& m) {
  launch_prefill_attention(m.queue, m.tables()[op.k_cache].type, m.rounded_type(op.out),
                           {.q = m.value(op.q),
                            .k = m.value(op.k),
                            .v = m.value(op.v),
                            .q_norm = m.vector(op.q_norm),
                            .k_norm = m.vector(op.k_norm),
                            .k_cache = m.cache(op.k_cache),
                            .v_cache = m.cache(op.v_cache),
                            .layout = m.layout(op.k_cache),
                            .queries = m.dense_x,
                            .out = m.value(op.out),
                            .rows = m.rope(op.rope.get()).rows,
                            .apply_temperature = op.rope->temperature_beta != 0,
                            .position = m.position(),
                            .n_tokens = u32(m.n_tokens),
                            .n_heads = u32(op.n_heads),
                            .window = u32(op.window),
                            .scale = op.scale,
                            .eps = op.eps});
}

}  // namespace

bool supports(const Rope&, const Tables&) { return true; }
void plan(const Rope& op, Planner& p) { p.rope(op.table); }
void run(const Rope& op, Machine& m) {
  launch_rope(m.queue, u32(m.n_tokens),
              {.x = m.value(op.x),
               .out = m.value(op.out),
               .rows = m.rope(op.table.get()).rows,
               .n_heads = u32(m.width(op.x) / op.head_dim),
               .head_dim = u32(op.head_dim),
               .apply_temperature = op.apply_temperature});
}

bool supports(const KvAppend& op, const Tables& t) {
  return are_caches(op.k_cache, op.v_cache, t[op.k_cache].width, t);
}
void plan(const KvAppend&, Planner&) {}
void run(const KvAppend& op, Machine& m) {
  launch_kv_append(m.queue, u32(m.n_tokens), m.tables()[op.k_cache].type,
                   {.k = m.value(op.k),
                    .v = m.value(op.v),
                    .k_cache = m.cache(op.k_cache),
                    .v_cache = m.cache(op.v_cache),
                    .position = m.position(),
                    .layout = m.layout(op.k_cache)});
}

bool supports(const Attention& op, const Tables& t) {
  return are_caches(op.k_cache, op.v_cache, op.head_dim, t) && op.head_dim <= kMaxHeadDim;
}
void plan(const Attention& op, Planner& p) { p.caches(op.k_cache, op.v_cache, op.n_kv_heads, op.head_dim); }
void run(const Attention& op, Machine& m) {
  launch_attention(m.queue, m.tables()[op.k_cache].type, u32(m.n_tokens),
                   {.q = m.value(op.q),
                    .k_cache = m.cache(op.k_cache),
                    .v_cache = m.cache(op.v_cache),
                    .out = m.value(op.out),
                    .position = m.position(),
                    .layout = m.layout(op.k_cache),
                    .n_heads = u32(op.n_heads),
                    .window = u32(op.window),
                    .scale = op.scale});
}

bool supports(const RopeAttention& op, const Tables& t) {
  return t[op.k_cache].type == t[op.v_cache].type && decode_attention_supports(t[op.k_cache].type, op.head_dim) &&
         decodes(op.q_norm, t) && decodes(op.k_norm, t);
}
void plan(const RopeAttention& op, Planner& p) {
  p.attended[static_cast<size_t>(op.out.index)] = true;
  p.rope(op.rope);
  p.caches(op.k_cache, op.v_cache, op.n_kv_heads, op.head_dim);
  p.vector(op.q_norm);
  p.vector(op.k_norm);
  if (p.options.max_tokens > kMaxGemvRows)
    p.dense_x_bytes = std::max(p.dense_x_bytes, p.options.max_tokens * p.tables()[op.q].width * sizeof(uint16_t));
  // Measurements may ask for more splits than tune() does.
  DecodeAttentionChoice most;
  most.blocks_per_sm = 8;
  const DecodeAttentionTuning tuning = tuning_of(op, p.tables()[op.k_cache].type, p.device, most);
  const DecodeAttentionScratch scratch =
      decode_attention_scratch(u32(op.n_heads), u32(op.n_kv_heads), u32(op.head_dim), tuning.n_splits);
  const uint64_t n = std::min(p.options.max_tokens, kMaxGemvRows);
  p.partial_bytes = std::max(p.partial_bytes, n * scratch.partial * sizeof(float));
  p.n_arrived = std::max(p.n_arrived, n * scratch.n_arrived);
}
void tape(const RopeAttention& op, const Machine& m, StreamTape& t) {
  const DType type = m.tables()[op.k_cache].type;
  const DecodeAttentionTuning tuning = tuning_of(op, type, m.device, m.choices.attention);
  const uint64_t groups = decode_attention_scratch(u32(op.n_heads), u32(op.n_kv_heads), u32(op.head_dim), 1).n_arrived;
  if (!stream_attention_supports(type, op.head_dim) || groups > t.n_blocks || tuning.n_splits > t.n_blocks / groups) {
    t.problem = fmt::format("attention of {} heads of {} over a cache of {}", op.n_heads, op.head_dim, name(type));
    return;
  }
  t.add_attention(attention_params(op, m), type);
}
void run(const RopeAttention& op, Machine& m) { m.n_tokens <= kMaxGemvRows ? run_few(op, m) : run_many(op, m); }

}  // namespace stretto::cuda
