#pragma once
// Writes the step's keys and values into the cache at their positions.
//   k_cache[position[t], :] = k[t, :]       v_cache[position[t], :] = v[t, :]     (rounded to the cache's type)
// The rounding of 8-bit types (formats/cache_formats.h) is part of the definition: F8_E4M3 without a scale, saturating,
// to nearest even; Q8_0 in blocks of 32 along a head. That of wider types is an error like any other.

#include "ops/types.h"

namespace stretto {

struct KvAppend {
  static constexpr std::string_view kName = "KvAppend";
  ValueId k, v;              // [tokens, n_kv_heads * head_dim]
  StateId k_cache, v_cache;  // [n_ctx, n_kv_heads * head_dim]

  template <class Op, class V>
  static void tensors(Op& op, V& visit) {
    visit.in("k", op.k);
    visit.in("v", op.v);
    visit.state_out("k_cache", op.k_cache);
    visit.state_out("v_cache", op.v_cache);
  }
  void check(const Tables& t) const {
    CHECK(t[k_cache].growth == Growth::kPerPosition && t[v_cache].growth == Growth::kPerPosition);
    CHECK(t[k].width == t[k_cache].width && t[v].width == t[v_cache].width);
    CHECK(t[k].rows == Rows::kTokens && t[v].rows == Rows::kTokens);
  }
  Cost cost(const Tables& t, const StepShape& s) const {
    return {.state_bytes = (t[k_cache].bytes(1) + t[v_cache].bytes(1)) * s.n_tokens,
            .activation_bytes = activation_bytes(*this, t, s)};
  }
};

}  // namespace stretto
