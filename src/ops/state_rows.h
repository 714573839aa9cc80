#pragma once
// Rows of a state that has one per position, as they stand.
//   StateRead:  out[t, :] = state[position[t] - lag, :], zeros before the first position
//   StateWrite: state[position[t], :] = x[t, :]
// A value that is carried from token to token is read with lag 1 and written, in nodes that run token by token
// (Node::sequential). It is kept for every position, so that a step may start anywhere in what was run.

#include "ops/types.h"

namespace stretto {

struct StateRead {
  static constexpr std::string_view kName = "StateRead";
  StateId state;  // [n_ctx, width] F32 or I32
  ValueId out;    // [tokens, width] of the same type
  uint64_t lag = 0;

  template <class Op, class V>
  static void tensors(Op& op, V& v) {
    v.state_in("state", op.state);
    v.out("out", op.out);
  }
  void check(const Tables& t) const {
    CHECK(t[state].growth == Growth::kPerPosition && t[state].width == t[out].width && lag <= 1);
    CHECK(t[out].rows == Rows::kTokens && t[out].type == t[state].type);
  }
  Cost cost(const Tables& t, const StepShape& s) const {
    return {.state_bytes = t[state].bytes(1) * s.n_tokens, .activation_bytes = activation_bytes(*this, t, s)};
  }
};

struct StateWrite {
  static constexpr std::string_view kName = "StateWrite";
  ValueId x;      // [tokens, width] F32 or I32
  StateId state;  // [n_ctx, width] of the same type

  template <class Op, class V>
  static void tensors(Op& op, V& v) {
    v.in("x", op.x);
    v.state_out("state", op.state);
  }
  void check(const Tables& t) const {
    CHECK(t[state].growth == Growth::kPerPosition && t[state].width == t[x].width);
    CHECK(t[x].rows == Rows::kTokens && t[x].type == t[state].type);
  }
  Cost cost(const Tables& t, const StepShape& s) const {
    return {.state_bytes = t[state].bytes(1) * s.n_tokens, .activation_bytes = activation_bytes(*this, t, s)};
  }
};

}  // namespace stretto
