#pragma once
// Fused: RMS norm, then up to three products that share its result (q, k, v; or one projection).
//   n = RmsNorm(x) * norm;   part.out = part.w n + part.bias   for each part
// decompose() is its definition.

#include <array>
#include <span>

#include "ops/linear.h"
#include "ops/rms_norm.h"

namespace stretto {

struct NormLinear {
  static constexpr std::string_view kName = "NormLinear";
  static constexpr int kMaxParts = 3;
  struct Part {
    WeightId w;     // [n_out, n_in]
    WeightId bias;  // [n_out], optional
    ValueId out;    // [rows, n_out]
  };
  ValueId x;      // [rows, n_in]
  WeightId norm;  // [n_in]
  float eps = 0;
  std::array<Part, kMaxParts> part;
  int n_parts = 0;

  std::span<const Part> parts() const { return {part.data(), static_cast<size_t>(n_parts)}; }

  template <class Op, class V>
  static void tensors(Op& op, V& v) {
    v.in("x", op.x);
    v.weight("norm", op.norm);
    for (int i = 0; i < op.n_parts; ++i) {
      v.weight("w", op.part[i].w);
      v.weight("bias", op.part[i].bias);
      v.out("out", op.part[i].out);
    }
  }
  void check(const Tables& t) const {
    CHECK(n_parts >= 1 && n_parts <= kMaxParts && t[norm].shape.elements() == t[x].width);
    for (const Part& p : parts()) Linear{.x = x, .w = p.w, .bias = p.bias, .out = p.out}.check(t);
  }
  Cost cost(const Tables& t, const StepShape& s) const {
    Cost c{.weight_bytes = t[norm].bytes(),
           .activation_bytes = activation_bytes(*this, t, s),
           .flops = 4 * t[x].width * s.rows(t[x].rows)};
    for (const Part& p : parts()) {
      const Cost one = Linear{.x = x, .w = p.w, .bias = p.bias, .out = p.out}.cost(t, s);
      c.weight_bytes += one.weight_bytes;
      c.flops += one.flops;
    }
    return c;
  }
  template <class Emitter>
  void decompose(Emitter& e) const {
    const ValueId n = e.temp_like(x);
    e.emit(RmsNorm{.x = x, .weight = norm, .out = n, .group = e.tables()[x].width, .eps = eps});
    for (const Part& p : parts()) e.emit(Linear{.x = n, .w = p.w, .bias = p.bias, .out = p.out});
  }
};

}  // namespace stretto
