#pragma once
// The end of an event of a swap layer: the working vector becomes the row that stream 0 points at.
//   out[i] = i == map & 3 ? v : ram[i]       i < 4

#include "ops/swap_streams.h"

namespace stretto {

struct SwapWrite {
  static constexpr std::string_view kName = "SwapWrite";
  ValueId v;        // [tokens, d]
  ValueId streams;  // [tokens, kStreamFields] I32, with v's exponent already at the row
  ValueId ram;      // [tokens, 4 d], absent: zeros
  ValueId out;      // [tokens, 4 d]

  template <class Op, class V>
  static void tensors(Op& op, V& visit) {
    visit.in("v", op.v);
    visit.in("streams", op.streams);
    visit.in("ram", op.ram);
    visit.out("out", op.out);
  }
  void check(const Tables& t) const {
    CHECK(t[streams].type == DType::kI32 && t[streams].width == kStreamFields && t[out].width == kStreams * t[v].width);
    CHECK(!ram || t[ram].width == t[out].width);
    CHECK(t[v].rows == Rows::kTokens && t[out].rows == Rows::kTokens);
  }
  Cost cost(const Tables& t, const StepShape& s) const { return {.activation_bytes = activation_bytes(*this, t, s)}; }
};

}  // namespace stretto
