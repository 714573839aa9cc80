#pragma once
// Causal grouped-query attention over the cache (which already holds the step's own keys and values).
//   g = h / (n_heads / n_kv_heads)
//   s[j] = scale * q[t, h] . k_cache[j, g]        visible j: j <= p and (window == 0 or p - j < window), p =
//   position[t] out[t, h] = sum_j softmax(s)[j] * v_cache[j, g]
// Softmax with the maximum subtracted, accumulated in float32 or better.

#include <algorithm>

#include "ops/types.h"

namespace stretto {

struct Attention {
  static constexpr std::string_view kName = "Attention";
  ValueId q;                 // [tokens, n_heads * head_dim]
  StateId k_cache, v_cache;  // [n_ctx, n_kv_heads * head_dim]
  ValueId out;               // [tokens, n_heads * head_dim]
  uint64_t n_heads = 0;
  uint64_t n_kv_heads = 0;
  uint64_t head_dim = 0;
  float scale = 0;
  uint64_t window = 0;  // 0: full

  template <class Op, class V>
  static void tensors(Op& op, V& v) {
    v.in("q", op.q);
    v.state_in("k_cache", op.k_cache);
    v.state_in("v_cache", op.v_cache);
    v.out("out", op.out);
  }
  void check(const Tables& t) const {
    CHECK(n_kv_heads > 0 && n_heads % n_kv_heads == 0 && head_dim > 0);
    CHECK(t[q].width == n_heads * head_dim && t[out].width == n_heads * head_dim);
    CHECK(t[k_cache].width == n_kv_heads * head_dim && t[v_cache].width == n_kv_heads * head_dim);
  }
  Cost cost(const Tables& t, const StepShape& s) const {
    uint64_t seen = s.position + s.n_tokens;  // rows of the cache read at least once
    if (window != 0) seen = std::min(seen, window + s.n_tokens - 1);
    return {.state_bytes = (t[k_cache].bytes(1) + t[v_cache].bytes(1)) * seen,
            .activation_bytes = activation_bytes(*this, t, s),
            .flops = 4 * n_heads * head_dim * seen * s.n_tokens};
  }
};

}  // namespace stretto
