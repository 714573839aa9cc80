#pragma once
// Fused: everything between the q/k/v projections and the output projection of a decoder layer.
//   q <- Rope(RmsNorm_head(q) * q_norm),  k <- Rope(RmsNorm_head(k) * k_norm)    (norms where the model has them)
//   append k, v to the cache;  out = Attention(q, cache)
// decompose() is its definition.

#include "ops/attention.h"
#include "ops/kv_append.h"
#include "ops/rms_norm.h"
#include "ops/rope.h"

namespace stretto {

struct RopeAttention {
  static constexpr std::string_view kName = "RopeAttention";
  ValueId q;                 // [tokens, n_heads * head_dim]
  ValueId k, v;              // [tokens, n_kv_heads * head_dim]
  WeightId q_norm, k_norm;   // [head_dim], optional
  StateId k_cache, v_cache;  // [n_ctx, n_kv_heads * head_dim]
  ValueId out;               // [tokens, n_heads * head_dim]
  std::shared_ptr<const RopeTable> rope;
  uint64_t n_heads = 0;
  uint64_t n_kv_heads = 0;
  uint64_t head_dim = 0;
  uint64_t window = 0;
  float scale = 0;
  float eps = 0;

  template <class Op, class V>
  static void tensors(Op& op, V& visit) {
    visit.in("q", op.q);
    visit.in("k", op.k);
    visit.in("v", op.v);
    visit.weight("q_norm", op.q_norm);
    visit.weight("k_norm", op.k_norm);
    visit.state_out("k_cache", op.k_cache);
    visit.state_out("v_cache", op.v_cache);
    visit.out("out", op.out);
  }
  Attention attention(ValueId rotated_q) const {
    return {.q = rotated_q,
            .k_cache = k_cache,
            .v_cache = v_cache,
            .out = out,
            .n_heads = n_heads,
            .n_kv_heads = n_kv_heads,
            .head_dim = head_dim,
            .scale = scale,
            .window = window};
  }
  void check(const Tables& t) const {
    attention(q).check(t);
    KvAppend{.k = k, .v = v, .k_cache = k_cache, .v_cache = v_cache}.check(t);
    CHECK(rope && 2 * rope->inv_freq.size() <= head_dim);
    CHECK(!q_norm || t[q_norm].shape.elements() == head_dim);
    CHECK(!k_norm || t[k_norm].shape.elements() == head_dim);
  }
  Cost cost(const Tables& t, const StepShape& s) const {
    Cost c = attention(q).cost(t, s);
    c += KvAppend{.k = k, .v = v, .k_cache = k_cache, .v_cache = v_cache}.cost(t, s);
    c.activation_bytes = activation_bytes(*this, t, s);
    if (q_norm) c.weight_bytes += t[q_norm].bytes();
    if (k_norm) c.weight_bytes += t[k_norm].bytes();
    c.flops += 7 * (t[q].width + t[k].width) * s.n_tokens;
    return c;
  }
  template <class Emitter>
  void decompose(Emitter& e) const {
    const ValueId rotated_q = norm_and_rotate(e, q, q_norm, true);
    const ValueId rotated_k = norm_and_rotate(e, k, k_norm, false);
    e.emit(KvAppend{.k = rotated_k, .v = v, .k_cache = k_cache, .v_cache = v_cache});
    e.emit(attention(rotated_q));
  }

 private:
  template <class Emitter>
  ValueId norm_and_rotate(Emitter& e, ValueId x, WeightId norm, bool query) const {
    if (norm) {
      const ValueId n = e.temp_like(x);
      e.emit(RmsNorm{.x = x, .weight = norm, .out = n, .group = head_dim, .eps = eps});
      x = n;
    }
    const ValueId rotated = e.temp_like(x);
    e.emit(Rope{.x = x,
                .out = rotated,
                .head_dim = head_dim,
                .table = rope,
                .apply_temperature = query && rope->temperature_beta != 0});
    return rotated;
  }
};

}  // namespace stretto
