#include "ops/cases.h"

#include "formats/activation.h"
#include "formats/formats.h"
#include "ops/attention_cases.h"
#include "ops/swap_cases.h"

namespace stretto::test {
namespace {

// Limits of the normalised mean square error against float64.
constexpr double kElementwise = 1e-12;
constexpr double kPlainProduct = 1e-11;   // float32 activations, weights read exactly
constexpr double kIntegerProduct = 1e-4;  // activations rounded to 8 bits in blocks of 32

constexpr DType kWeightTypes[] = {DType::kF32,  DType::kF16,    DType::kBF16,   DType::kQ4_0,
                                  DType::kQ4_1, DType::kQ5_0,   DType::kQ5_1,   DType::kQ8_0,
                                  DType::kQ2_K, DType::kQ3_K,   DType::kQ4_K,   DType::kQ5_K,
                                  DType::kQ6_K, DType::kIQ4_NL, DType::kIQ4_XS, DType::kMXFP4};
static_assert(std::size(kWeightTypes) == std::tuple_size_v<Formats>);

double product_limit(DType type) { return has_integer_dot(type) ? kIntegerProduct : kPlainProduct; }

// Widths off the lanes' grid where the encoding allows it.
std::vector<uint64_t> widths(DType type) {
  const uint64_t block = info(type).block_elements;
  if (block == 1) return {1, 13, 64, 203};
  return {block, 3 * block, block == 32 ? 17 * block : 5 * block};
}

using Cases = std::vector<OpCase>;

void add_embed(Cases& out) {
  for (const DType type : kWeightTypes) {
    CaseBuilder b(100);
    const uint64_t width = widths(type).back();
    const ValueId y = b.value(width);
    b.emit(Embed{.table = b.weight(type, {CaseBuilder::kVocab, width}), .out = y, .scale = 1.7F});
    out.push_back(b.finish("embed_" + std::string(name(type)), y, kElementwise));
  }
}

void add_elementwise(Cases& out) {
  for (const uint64_t group : {1, 7, 64, 130}) {
    for (const bool weighted : {false, true}) {
      CaseBuilder b(200);
      const ValueId x = b.input(3 * group), y = b.value(3 * group);
      const WeightId w = weighted ? b.weight(group == 64 ? DType::kBF16 : DType::kF32, {group}) : WeightId{};
      b.emit(RmsNorm{.x = x, .weight = w, .out = y, .group = group, .eps = 1e-5F});
      out.push_back(b.finish("rms_norm_" + std::to_string(group) + (weighted ? "_weighted" : ""), y, kElementwise));
    }
  }
  for (const uint64_t width : {1, 19, 256, 5000}) {
    CaseBuilder b(300);
    const ValueId x = b.input(width), y = b.input(width), sum = b.value(width);
    b.emit(Add{.a = x, .b = y, .out = sum});
    out.push_back(b.finish("add_" + std::to_string(width), sum, kElementwise));
    for (const Activation act : {Activation::kSilu, Activation::kGeluTanh}) {
      CaseBuilder g(400);
      const ValueId gate = g.input(width), up = g.input(width), z = g.value(width);
      g.emit(GatedAct{.gate = gate, .up = up, .out = z, .act = act});
      out.push_back(g.finish((act == Activation::kSilu ? "silu_" : "gelu_") + std::to_string(width), z, kElementwise));
    }
  }
}

void add_linear(Cases& out) {
  for (const DType type : kWeightTypes) {
    for (const uint64_t width : widths(type)) {
      CaseBuilder b(500);
      const uint64_t n_out = width % 3 == 0 ? 37 : 66;
      const ValueId x = b.input(width), y = b.value(n_out);
      const WeightId w = b.weight(type, {n_out, width});
      const WeightId bias = width % 3 == 0 ? b.weight(DType::kF32, {n_out}) : WeightId{};
      b.emit(Linear{.x = x, .w = w, .bias = bias, .out = y});
      out.push_back(
          b.finish("linear_" + std::string(name(type)) + "_" + std::to_string(width), y, product_limit(type)));
    }
  }
}

void add_fused_linear(Cases& out) {
  for (const DType type : {DType::kF32, DType::kBF16, DType::kQ8_0, DType::kQ4_K}) {
    const uint64_t d = type == DType::kF32 ? 77 : 256, n = 70;
    const std::string suffix = std::string(name(type));
    {
      CaseBuilder b(600);
      const ValueId x = b.input(d), residual = b.input(n), y = b.value(n);
      b.emit(LinearAdd{
          .x = x, .w = b.weight(type, {n, d}), .bias = b.weight(DType::kF16, {n}), .residual = residual, .out = y});
      out.push_back(b.finish("linear_add_" + suffix, y, product_limit(type)));
    }
    for (int part = 0; part < 3; ++part) {
      CaseBuilder b(700);
      NormLinear op{.x = b.input(d), .norm = b.weight(DType::kF32, {d}), .eps = 1e-6F, .part = {}, .n_parts = 3};
      // The parts differ in encoding and size; the middle one has a bias.
      op.part[0] = {b.weight(type, {n, d}), {}, b.value(n)};
      op.part[1] = {b.weight(DType::kF16, {9, d}), b.weight(DType::kF32, {9}), b.value(9)};
      op.part[2] = {b.weight(type, {33, d}), {}, b.value(33)};
      b.emit(op);
      out.push_back(b.finish("norm_linear_" + suffix + "_part" + std::to_string(part),
                             op.part[static_cast<size_t>(part)].out, part == 1 ? kPlainProduct : product_limit(type)));
    }
    for (const bool bias : {false, true}) {
      CaseBuilder b(800);
      const ValueId x = b.input(d), y = b.value(203);
      NormGateUp op{.x = x,
                    .norm = b.weight(DType::kF32, {d}),
                    .w_gate = b.weight(type, {203, d}),
                    .w_up = b.weight(type, {203, d}),
                    .b_gate = {},
                    .b_up = {},
                    .out = y,
                    .eps = 1e-6F,
                    .act = bias ? Activation::kGeluTanh : Activation::kSilu};
      if (bias) op.b_gate = b.weight(DType::kF32, {203});
      if (bias) op.b_up = b.weight(DType::kF32, {203});
      b.emit(op);
      // Two rounded factors.
      out.push_back(b.finish("norm_gate_up_" + suffix + (bias ? "_bias" : ""), y, 3 * product_limit(type)));
    }
  }
}

void add_rope(Cases& out) {
  struct Shape {
    uint64_t head_dim, n_pairs, position;
    double beta;
  };
  for (const Shape s : {Shape{64, 32, 0, 0}, Shape{64, 16, 5, 0}, Shape{10, 3, 90, 0.1}, Shape{128, 64, 131000, 0}}) {
    CaseBuilder b(900);
    const ValueId x = b.input(5 * s.head_dim), y = b.value(5 * s.head_dim);
    b.emit(Rope{.x = x,
                .out = y,
                .head_dim = s.head_dim,
                .table = rope_table(s.n_pairs, s.beta),
                .apply_temperature = s.beta != 0});
    out.push_back(b.finish("rope_" + std::to_string(s.head_dim) + "_" + std::to_string(s.n_pairs), y, kElementwise,
                           {1, 3, 17}, s.position));
  }
}

// A whole feed-forward block, wide enough for a backend to hand its middle vector on in another form.
void add_feed_forward(Cases& out) {
  constexpr uint64_t kWidth = 8448, kIn = 256, kOut = 12;
  for (const DType type : {DType::kF16, DType::kQ8_0, DType::kQ4_K, DType::kQ6_K}) {
    CaseBuilder b(850);
    const ValueId x = b.input(kIn), residual = b.input(kOut), hidden = b.value(kWidth), y = b.value(kOut);
    b.emit(NormGateUp{.x = x,
                      .norm = b.weight(DType::kF32, {kIn}),
                      .w_gate = b.weight(type, {kWidth, kIn}),
                      .w_up = b.weight(type, {kWidth, kIn}),
                      .b_gate = {},
                      .b_up = {},
                      .out = hidden,
                      .eps = 1e-6F,
                      .act = Activation::kSilu});
    b.emit(LinearAdd{.x = hidden, .w = b.weight(type, {kOut, kWidth}), .bias = {}, .residual = residual, .out = y});
    // Three rounded factors and one more.
    out.push_back(b.finish("feed_forward_" + std::string(name(type)), y, 4 * product_limit(type), {1, 2}));
  }
}

// Router weights [rows, top_k]; the chosen ids are seen through ExpertLinear below.
void add_router(Cases& out) {
  for (const bool renormalise : {false, true}) {
    CaseBuilder b(1200);
    const ValueId logits = b.input(61), ids = b.value(7, DType::kI32), weights = b.value(7);
    b.emit(RouterTopK{
        .logits = logits, .ids = ids, .weights = weights, .top_k = 7, .renormalise = renormalise, .scale = 2.5F});
    out.push_back(b.finish(std::string("router_") + (renormalise ? "renormalised" : "plain"), weights, kElementwise));
  }
}

void add_experts(Cases& out) {
  for (const DType type : kWeightTypes) {
    for (const bool shared : {true, false}) {
      CaseBuilder b(1300);
      const uint64_t n_experts = 11, k = 3, n_in = widths(type)[1], n_out = 21;
      const ValueId logits = b.input(n_experts), ids = b.value(k, DType::kI32), weights = b.value(k);
      const ValueId x = b.input(shared ? n_in : k * n_in), y = b.value(k * n_out), sum = b.value(n_out);
      b.emit(RouterTopK{.logits = logits, .ids = ids, .weights = weights, .top_k = k});
      b.emit(ExpertLinear{.x = x, .w = b.weight(type, {n_experts, n_out, n_in}), .ids = ids, .out = y});
      b.emit(ExpertSum{.x = y, .weights = weights, .out = sum});
      out.push_back(b.finish("experts_" + std::string(name(type)) + (shared ? "_shared" : "_own"), shared ? sum : y,
                             product_limit(type)));
    }
  }
}

// Whole blocks: even and uneven widths, one choice and many, up to 128 experts and more, experts without a row and
// with more than one tile of them.
void add_moe_blocks(Cases& out) {
  struct Block {
    DType type;
    uint64_t d, d_ff, n_experts, top_k;
    std::vector<uint64_t> steps;
    bool renormalise = true;
    Activation act = Activation::kSilu;
  };
  for (const Block& s :
       {Block{DType::kF32, 96, 64, 6, 2, {1, 3, 17}}, Block{DType::kQ4_0, 96, 64, 6, 2, {1, 3, 17}},
        Block{DType::kF32, 77, 51, 5, 5, {2, 9}, false, Activation::kGeluTanh},
        Block{DType::kBF16, 64, 300, 40, 1, {1, 17}}, Block{DType::kF16, 130, 48, 9, 8, {8, 40}, false},
        Block{DType::kQ8_0, 96, 512, 40, 1, {1, 19}}, Block{DType::kQ4_K, 256, 768, 12, 8, {1, 9, 70}},
        Block{DType::kQ6_K, 256, 768, 12, 8, {1, 70}}, Block{DType::kQ5_K, 768, 256, 7, 3, {1, 33}},
        Block{DType::kF16, 64, 32, 128, 8, {1, 9}}, Block{DType::kF32, 64, 32, 160, 4, {1, 3}}}) {
    CaseBuilder b(1400);
    const ValueId x = b.input(s.d), y = b.value(s.d);
    b.emit(MoeBlock{.x = x,
                    .norm = b.weight(DType::kF32, {s.d}),
                    .router = b.weight(DType::kF32, {s.n_experts, s.d}),
                    .w_gate = b.weight(s.type, {s.n_experts, s.d_ff, s.d}),
                    .w_up = b.weight(s.type, {s.n_experts, s.d_ff, s.d}),
                    .w_down = b.weight(s.type, {s.n_experts, s.d, s.d_ff}),
                    .out = y,
                    .top_k = s.top_k,
                    .renormalise = s.renormalise,
                    .weight_scale = s.renormalise ? 1.0F : 1.5F,
                    .eps = 1e-6F,
                    .act = s.act});
    const std::string name = "moe_block_" + std::string(stretto::name(s.type)) + "_" + std::to_string(s.d_ff) + "_" +
                             std::to_string(s.top_k);
    out.push_back(b.finish(name, y, has_integer_dot(s.type) ? 5e-4 : kPlainProduct, s.steps));
  }
}

}  // namespace

const std::vector<OpCase>& op_cases() {
  static const Cases cases = [] {
    Cases out;
    add_embed(out);
    add_elementwise(out);
    add_linear(out);
    add_fused_linear(out);
    add_rope(out);
    add_feed_forward(out);
    for (OpCase& c : attention_cases()) out.push_back(std::move(c));
    add_router(out);
    add_experts(out);
    add_swap_cases(out);
    add_moe_blocks(out);
    return out;
  }();
  return cases;
}

}  // namespace stretto::test
