// Recording, lowering, buffer planning and accounting.

#include <gtest/gtest.h>

#include "ops/op_program.h"
#include "program/lower.h"
#include "program/plan.h"
#include "program/print.h"

namespace stretto::test {
namespace {

// Keeps NormLinear, expands everything else that is fused.
struct KeepsNormLinear {
  static bool supports(const NormLinear&, const Tables&) { return true; }
  template <class T>
  requires(!FusedOp<T>) static bool supports(const T&, const Tables&) { return true; }
};

struct Small {
  OpProgram p;
  Program program;
  Small() {
    Recorder& r = p.recorder();
    const ValueId x = p.input(32, std::vector<float>(64, 1.0F));
    const ValueId q = r.value("q", 16), h = r.value("h", 32), out = r.value("y", 32);
    NormLinear qkv{
        .x = x, .norm = p.weight(Shape{32}, std::vector<float>(32, 1.0F)), .eps = 1e-6F, .part = {}, .n_parts = 1};
    qkv.part[0] = {p.weight(Shape{16, 32}, std::vector<float>(512, 0.5F)), {}, q};
    r.set_layer(0);
    r.emit("qkv", qkv);
    r.emit("up", Linear{.x = q, .w = p.weight(Shape{32, 16}, std::vector<float>(512, 0.5F)), .bias = {}, .out = h});
    r.emit("sum", Add{.a = x, .b = h, .out = out});
    r.set_layer(-1);
    program = p.finish(out);
  }
};

TEST(Lower, KeepsWhatTheBackendHasAndExpandsTheRest) {
  const Small s;
  const Program kept = lower<KeepsNormLinear>(s.program), expanded = lower<PrimitiveOnly>(s.program);
  EXPECT_EQ(kept.nodes.size(), s.program.nodes.size());
  EXPECT_EQ(expanded.nodes.size(), s.program.nodes.size() + 1);
  EXPECT_TRUE(std::holds_alternative<RmsNorm>(expanded.nodes[1].op));
  EXPECT_EQ(expanded.nodes[1].role, "qkv");
  EXPECT_EQ(expanded.nodes[2].layer, 0);
}

struct Spans : TensorVisitor {
  std::vector<ValueId> touched;
  void in(std::string_view, ValueId& id) { touched.push_back(id); }
  void out(std::string_view, ValueId& id) { touched.push_back(id); }
};

TEST(Plan, BuffersThatLiveTogetherNeverOverlap) {
  const Small s;
  const Program program = lower<PrimitiveOnly>(s.program);
  const StepShape step{.n_tokens = 3, .n_outputs = 2};
  const BufferPlan plan = plan_buffers(program, step);
  std::vector<int> first(program.tables.values.size(), -1), last(program.tables.values.size(), -1);
  for (size_t n = 0; n < program.nodes.size(); ++n) {
    Spans spans;
    visit_tensors(program.nodes[n].op, spans);
    for (const ValueId id : spans.touched) {
      auto& f = first[static_cast<size_t>(id.index)];
      if (f < 0) f = static_cast<int>(n);
      last[static_cast<size_t>(id.index)] = static_cast<int>(n);
    }
  }
  uint64_t sum = 0;
  for (size_t a = 0; a < first.size(); ++a) {
    const uint64_t a_end = plan.offset[a] + value_bytes(program.tables, {static_cast<int32_t>(a)}, step);
    EXPECT_LE(a_end, plan.bytes);
    EXPECT_EQ(plan.offset[a] % 64, 0U);
    sum += a_end - plan.offset[a];
    for (size_t b = 0; b < a; ++b) {
      if (last[b] < first[a] || last[a] < first[b]) continue;
      const uint64_t b_end = plan.offset[b] + value_bytes(program.tables, {static_cast<int32_t>(b)}, step);
      EXPECT_TRUE(a_end <= plan.offset[b] || b_end <= plan.offset[a]) << a << " and " << b;
    }
  }
  EXPECT_LT(plan.bytes, sum) << "nothing was shared";
}

TEST(Plan, MemoryAndLargestContext) {
  OpProgram p;
  const ValueId x = p.input(8, std::vector<float>(8, 1.0F));
  p.recorder().state({"cache", DType::kF16, Growth::kPerPosition, 8});
  p.recorder().state({"fixed", DType::kF32, Growth::kFixed, 10});
  const Program program = p.finish(x);
  const MemoryPlan plan = plan_memory(program, 100, {});
  EXPECT_EQ(plan.weights, 8U * 4);
  EXPECT_EQ(plan.state, 100U * 16 + 40);
  EXPECT_EQ(largest_context(program, {}, plan.total()), 100U);
  EXPECT_EQ(largest_context(program, {}, plan.total() - 1), 99U);
  EXPECT_EQ(largest_context(program, {}, 10), 0U);
}

TEST(Account, CountsWeightsOncePerStepAndActivationsPerToken) {
  const Small s;
  const Accounting one = account(s.program, {}), three = account(s.program, {.n_tokens = 3, .n_outputs = 3});
  const Cost& linear = one.per_node[2];
  EXPECT_EQ(linear.weight_bytes, 512U * 4);
  EXPECT_EQ(linear.activation_bytes, (16U + 32) * 4);
  EXPECT_EQ(linear.flops, 2U * 512);
  EXPECT_EQ(three.per_node[2].weight_bytes, linear.weight_bytes);
  EXPECT_EQ(three.per_node[2].activation_bytes, 3 * linear.activation_bytes);
  EXPECT_EQ(one.launches, s.program.nodes.size());
}

TEST(Account, PhasesFollowDependencies) {
  const Small s;
  const Accounting a = account(lower<PrimitiveOnly>(s.program), {});
  // embed, norm, q, up, sum, take
  EXPECT_EQ(a.phase, (std::vector<int>{1, 2, 3, 4, 5, 6}));
  EXPECT_EQ(a.n_phases, 6);
  OpProgram p;
  const ValueId x = p.input(8, std::vector<float>(8, 1.0F)), y = p.input(8, std::vector<float>(8, 2.0F)),
                z = p.output_like(x);
  p.recorder().emit("sum", Add{.a = x, .b = y, .out = z});
  EXPECT_EQ(account(p.finish(z), {}).phase, (std::vector<int>{1, 1, 2, 3}));
}

TEST(Account, AttentionCountsWhatIsVisible) {
  OpProgram p;
  Recorder& r = p.recorder();
  const ValueId q = p.input(64, std::vector<float>(64, 1.0F)), out = r.value("o", 64);
  const StateId k = r.state({"k", DType::kF16, Growth::kPerPosition, 32});
  const StateId v = r.state({"v", DType::kF16, Growth::kPerPosition, 32});
  Attention full{
      .q = q, .k_cache = k, .v_cache = v, .out = out, .n_heads = 4, .n_kv_heads = 2, .head_dim = 16, .scale = 1};
  EXPECT_EQ(full.cost(r.tables(), {.position = 999}).state_bytes, 1000U * 2 * 64);
  full.window = 100;
  EXPECT_EQ(full.cost(r.tables(), {.position = 999}).state_bytes, 100U * 2 * 64);
}

// A running sum: sequential nodes between an input and a use of their result.
struct RunningSum {
  OpProgram p;
  Program program;
  ValueId x, sum, doubled;
  RunningSum() {
    Recorder& r = p.recorder();
    x = p.input(8, std::vector<float>(8, 1.0F));
    sum = r.value("sum", 8);
    doubled = r.value("doubled", 8);
    const ValueId before = r.value("before", 8), again = r.value("again", 8);
    const StateId state = r.state({"sums", DType::kF32, Growth::kPerPosition, 8});
    r.set_sequential(true);
    r.emit("read", StateRead{.state = state, .out = before, .lag = 1});
    r.emit("add", Add{.a = x, .b = before, .out = again});
    r.emit("norm", RmsNorm{.x = again, .weight = {}, .out = sum, .group = 8, .eps = 1e-6F});
    r.emit("write", StateWrite{.x = sum, .state = state});
    r.set_sequential(false);
    r.emit("twice", Add{.a = sum, .b = sum, .out = doubled});
    program = p.finish(doubled);
  }
};

TEST(Sequential, LoweringKeepsTheMark) {
  const RunningSum s;
  const Program program = lower<PrimitiveOnly>(s.program);
  ASSERT_TRUE(program.nodes[1].sequential);
  EXPECT_EQ(sequence_end(program.nodes, 0), 1U);
  EXPECT_EQ(sequence_end(program.nodes, 1), 5U);
  EXPECT_EQ(sequence_end(program.nodes, 5), 6U);
}

// A later token's row of an input must not be overwritten by an earlier token's temporaries.
TEST(Sequential, WhatEntersOrLeavesLivesThroughout) {
  const RunningSum s;
  const StepShape step{.n_tokens = 4, .n_outputs = 4};
  const BufferPlan plan = plan_buffers(s.program, step);
  const auto apart = [&](ValueId a, ValueId b) {
    const auto i = static_cast<size_t>(a.index), k = static_cast<size_t>(b.index);
    const uint64_t bytes = value_bytes(s.program.tables, a, step);
    return plan.offset[i] + bytes <= plan.offset[k] || plan.offset[k] + bytes <= plan.offset[i];
  };
  EXPECT_TRUE(apart(s.x, s.sum));
}

TEST(Sequential, WeightsAreReadAnewForEveryToken) {
  OpProgram p;
  Recorder& r = p.recorder();
  const ValueId x = p.input(8, std::vector<float>(8, 1.0F)), out = r.value("out", 8);
  r.set_sequential(true);
  r.emit("linear", Linear{.x = x, .w = p.weight(Shape{8, 8}, std::vector<float>(64, 1.0F)), .bias = {}, .out = out});
  r.set_sequential(false);
  const Program program = p.finish(out);
  EXPECT_EQ(account(program, {.n_tokens = 5, .n_outputs = 5}).per_node[1].weight_bytes, 5U * 64 * 4);
  EXPECT_EQ(account(program, {}).per_node[1].weight_bytes, 64U * 4);
}

TEST(BankFfn, DecomposesIntoPrimitivesAndCostsNoMore) {
  OpProgram p;
  Recorder& r = p.recorder();
  const ValueId x = p.input(8, std::vector<float>(8, 1.0F)), logits = p.input(3, {1, 2, 3});
  const ValueId bank = r.value("bank", 1, Rows::kTokens, DType::kI32), out = r.value("out", 8);
  r.emit("route", RouterTopK{.logits = logits, .ids = bank, .weights = r.value("w", 1), .top_k = 1});
  const auto weight = [&](const Shape& shape) { return p.weight(shape, std::vector<float>(shape.elements(), 0.1F)); };
  r.emit("ffn", BankFfn{.x = x,
                        .bank = bank,
                        .norm = weight(Shape{8}),
                        .w_gate = weight(Shape{3, 16, 8}),
                        .w_up = weight(Shape{3, 16, 8}),
                        .w_down = weight(Shape{3, 8, 16}),
                        .out = out,
                        .eps = 1e-6F});
  const Program program = p.finish(out), expanded = lower<PrimitiveOnly>(program);
  EXPECT_EQ(expanded.nodes.size(), program.nodes.size() + 5);
  const Accounting fused = account(program, {}), apart = account(expanded, {});
  EXPECT_EQ(fused.total.weight_bytes, apart.total.weight_bytes);
  EXPECT_LT(fused.total.activation_bytes, apart.total.activation_bytes);
  EXPECT_EQ(fused.per_node[3].weight_bytes, (8U + 3 * 16 * 8) * 4);
}

TEST(Binding, InterleavedRowsComeOutHalfSplit) {
  // Two heads of four rows of one value; stored rows are 2i + s, wanted s * 2 + i.
  const std::vector<float> stored = {0, 1, 2, 3, 4, 5, 6, 7};
  const TensorView view{DType::kF32, Shape{8, 1}, std::as_bytes(std::span(stored))};
  const WeightBinding binding{{{.source = view, .n_rows = 8, .order = RowOrder::kInterleavedPairs, .head_dim = 4}}};
  EXPECT_EQ(binding.contiguous(DType::kF32), nullptr);
  std::vector<float> got(8);
  binding.gather(DType::kF32, reinterpret_cast<std::byte*>(got.data()));
  EXPECT_EQ(got, (std::vector<float>{0, 2, 1, 3, 4, 6, 5, 7}));
}

TEST(Binding, WidensToF32) {
  const std::vector<uint16_t> stored = {0x3f80, 0x4000};
  const TensorView view{DType::kBF16, Shape{2}, std::as_bytes(std::span(stored))};
  const WeightBinding binding{{{.source = view, .n_rows = 1}}};
  EXPECT_NE(binding.contiguous(DType::kBF16), nullptr);
  EXPECT_EQ(binding.contiguous(DType::kF32), nullptr);
  std::vector<float> got(2);
  binding.gather(DType::kF32, reinterpret_cast<std::byte*>(got.data()));
  EXPECT_EQ(got, (std::vector<float>{1, 2}));
}

TEST(Print, FoldsEqualLayersAndNamesRoles) {
  const Small s;
  const std::string text = print_program(s.program, {}, false), roles = print_roles(s.program, {});
  EXPECT_NE(text.find("layer 0:"), std::string::npos);
  EXPECT_NE(text.find("NormLinear"), std::string::npos);
  EXPECT_NE(roles.find("qkv"), std::string::npos);
  EXPECT_EQ(human_bytes(1536), "1.50 KiB");
  EXPECT_EQ(human_bytes(12), "12 B");
}

TEST(RecorderDeath, RefusesShapesThatDoNotFit) {
  OpProgram p;
  const ValueId x = p.input(8, std::vector<float>(8, 1.0F)), wrong = p.recorder().value("w", 9);
  EXPECT_DEATH(p.recorder().emit("add", Add{.a = x, .b = wrong, .out = wrong}), "CHECK");
}

}  // namespace
}  // namespace stretto::test
