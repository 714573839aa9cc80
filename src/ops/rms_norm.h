#pragma once
// Root-mean-square normalisation of each group of `group` values (a whole row, or one head).
//   out[g, i] = x[g, i] / sqrt(mean_i(x[g, i]^2) + eps) * weight[i]         weight absent: 1
// Source: Zhang & Sennrich 2019; sum of squares in float32 or better.

#include "ops/types.h"

namespace stretto {

struct RmsNorm {
  static constexpr std::string_view kName = "RmsNorm";
  ValueId x;        // [rows, n * group]
  WeightId weight;  // [group], optional
  ValueId out;      // like x
  uint64_t group = 0;
  float eps = 0;

  template <class Op, class V>
  static void tensors(Op& op, V& v) {
    v.in("x", op.x);
    v.weight("weight", op.weight);
    v.out("out", op.out);
  }
  void check(const Tables& t) const {
    CHECK(group > 0 && t[x].width % group == 0);
    CHECK(t[out].width == t[x].width && t[out].rows == t[x].rows);
    CHECK(!weight || t[weight].shape.elements() == group);
  }
  Cost cost(const Tables& t, const StepShape& s) const {
    return {.weight_bytes = weight ? t[weight].bytes() : 0,
            .activation_bytes = activation_bytes(*this, t, s),
            .flops = 4 * t[x].width * s.rows(t[x].rows)};
  }
};

}  // namespace stretto
