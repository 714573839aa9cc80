// The oracle against values worked out by hand or published in the specification's appendix of check values.

#include <gtest/gtest.h>

#include <cmath>

#include "ops/op_program.h"
#include "oracle/oracle_backend.h"

namespace stretto::test {
namespace {

std::vector<float> run(const Program& p, uint64_t n_tokens, uint64_t position = 0) {
  return run_rows(p, *make_oracle_backend(), n_tokens, 0, position);
}

void expect_near(const std::vector<float>& got, const std::vector<double>& wanted, double tolerance) {
  ASSERT_EQ(got.size(), wanted.size());
  for (size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], wanted[i], tolerance) << i;
}

std::shared_ptr<const RopeTable> rope_table(std::vector<double> inv_freq) {
  auto t = std::make_shared<RopeTable>();
  t->inv_freq = std::move(inv_freq);
  return t;
}

TEST(Oracle, RopeTurnsHalfSplitPairs) {
  OpProgram p;
  const ValueId x = p.input(4, {1, 2, 3, 4}), out = p.output_like(x);
  p.recorder().emit("rope", Rope{.x = x, .out = out, .head_dim = 4, .table = rope_table({1.0, 0.01})});
  expect_near(run(p.finish(out), 1, 3), {-1.413353, 1.879118, -2.828857, 4.058191}, 1e-6);
}

TEST(Oracle, RopeLeavesTheRestOfAHeadAlone) {
  OpProgram p;
  const ValueId x = p.input(4, {1, 2, 3, 4}), out = p.output_like(x);
  p.recorder().emit("rope", Rope{.x = x, .out = out, .head_dim = 4, .table = rope_table({M_PI / 2})});
  expect_near(run(p.finish(out), 1, 1), {-2, 1, 3, 4}, 1e-6);
}

TEST(Oracle, RopeTemperatureGrowsWithPosition) {
  auto table = std::make_shared<RopeTable>();
  table->inv_freq = {0.0};
  table->temperature_beta = 0.1;
  table->temperature_context = 4;
  OpProgram p;
  const ValueId x = p.input(2, {1, 2}), out = p.output_like(x);
  p.recorder().emit("rope", Rope{.x = x, .out = out, .head_dim = 2, .table = table, .apply_temperature = true});
  const Program program = p.finish(out);
  expect_near(run(program, 1, 3), {1, 2}, 1e-6);
  const double factor = 1 + 0.1 * std::log(2.0);
  expect_near(run(program, 1, 4), {factor, 2 * factor}, 1e-6);
}

TEST(Oracle, GatedActivations) {
  const std::vector<float> z = {-3, -1, -0.5, 0.5, 1, 3};
  const std::vector<float> ones(6, 1.0F);
  for (const auto& [act, wanted] :
       {std::pair{Activation::kSilu,
                  std::vector<double>{-0.1422776, -0.2689414, -0.1887703, 0.3112297, 0.7310586, 2.8577224}},
        std::pair{Activation::kGeluTanh,
                  std::vector<double>{-0.0036374, -0.1588080, -0.1542860, 0.3457140, 0.8411920, 2.9963626}}}) {
    OpProgram p;
    const ValueId gate = p.input(6, z), up = p.input(6, ones), out = p.output_like(gate);
    p.recorder().emit("act", GatedAct{.gate = gate, .up = up, .out = out, .act = act});
    expect_near(run(p.finish(out), 1), wanted, 3e-7);  // seven printed digits, float32 results
  }
}

TEST(Oracle, RmsNormOfEachGroup) {
  OpProgram p;
  const ValueId x = p.input(4, {3, 4, 6, 8}), out = p.output_like(x);
  p.recorder().emit("norm", RmsNorm{.x = x, .weight = p.weight(Shape{2}, {1, 2}), .out = out, .group = 2, .eps = 0});
  const double r = std::sqrt(12.5), s = std::sqrt(50.0);
  expect_near(run(p.finish(out), 1), {3 / r, 8 / r, 6 / s, 16 / s}, 1e-6);
}

TEST(Oracle, LinearWithBias) {
  OpProgram p;
  const ValueId x = p.input(2, {1, 2, 3, 4}), out = p.recorder().value("out", 3);
  p.recorder().emit("linear", Linear{.x = x,
                                     .w = p.weight(Shape{3, 2}, {1, 0, 0, 1, 1, 1}),
                                     .bias = p.weight(Shape{3}, {10, 20, 30}),
                                     .out = out});
  expect_near(run(p.finish(out), 2), {11, 22, 33, 13, 24, 37}, 1e-6);
}

struct AttentionFixture {
  OpProgram p;
  ValueId q, k, v, out;
  StateId k_cache, v_cache;
  // One head of two dimensions; keys are zero, so that every visible value weighs the same.
  AttentionFixture() {
    q = p.input(2, {1, 1, 1, 1, 1, 1});
    k = p.input(2, {0, 0, 0, 0, 0, 0});
    v = p.input(2, {1, 10, 2, 20, 3, 30});
    out = p.recorder().value("out", 2);
    k_cache = p.recorder().state({"k", DType::kF32, Growth::kPerPosition, 2});
    v_cache = p.recorder().state({"v", DType::kF32, Growth::kPerPosition, 2});
    p.recorder().emit("append", KvAppend{.k = k, .v = v, .k_cache = k_cache, .v_cache = v_cache});
  }
  std::vector<float> attend(uint64_t window) {
    p.recorder().emit("attn", Attention{.q = q,
                                        .k_cache = k_cache,
                                        .v_cache = v_cache,
                                        .out = out,
                                        .n_heads = 1,
                                        .n_kv_heads = 1,
                                        .head_dim = 2,
                                        .scale = 1,
                                        .window = window});
    return run(p.finish(out), 3);
  }
};

TEST(Oracle, AttentionIsCausal) { expect_near(AttentionFixture().attend(0), {1, 10, 1.5, 15, 2, 20}, 1e-6); }
TEST(Oracle, AttentionWindowCountsTheTokenItself) {
  expect_near(AttentionFixture().attend(2), {1, 10, 1.5, 15, 2.5, 25}, 1e-6);
  expect_near(AttentionFixture().attend(1), {1, 10, 2, 20, 3, 30}, 1e-6);
}

TEST(Oracle, RouterTakesTheLowerIndexOnATie) {
  OpProgram p;
  const ValueId logits = p.input(4, {0, 1, 1, 1});
  const ValueId ids = p.recorder().value("ids", 2, Rows::kTokens, DType::kI32), w = p.recorder().value("w", 2);
  p.recorder().emit("route", RouterTopK{.logits = logits, .ids = ids, .weights = w, .top_k = 2});
  expect_near(run(p.finish(w), 1), {0.5, 0.5}, 1e-7);
}

TEST(Oracle, RouterWithoutRenormalisationKeepsTheSoftmaxOverAll) {
  OpProgram p;
  const ValueId logits = p.input(2, {0, std::log(3.0F)});
  const ValueId ids = p.recorder().value("ids", 1, Rows::kTokens, DType::kI32), w = p.recorder().value("w", 1);
  p.recorder().emit("route", RouterTopK{.logits = logits, .ids = ids, .weights = w, .top_k = 1, .renormalise = false});
  expect_near(run(p.finish(w), 1), {0.75}, 1e-6);
}

TEST(Oracle, ExpertsSharedAndPerExpertInputs) {
  OpProgram p;
  const ValueId x = p.input(2, {1, 2}), logits = p.input(3, {5, 0, 5});
  Recorder& r = p.recorder();
  const ValueId ids = r.value("ids", 2, Rows::kTokens, DType::kI32), w = r.value("w", 2);
  r.emit("route", RouterTopK{.logits = logits, .ids = ids, .weights = w, .top_k = 2});
  const WeightId up = p.weight(Shape{3, 2, 2}, {1, 0, 0, 1, 9, 9, 9, 9, 2, 0, 0, 2});
  const WeightId down = p.weight(Shape{3, 1, 2}, {1, 1, 9, 9, 10, 10});
  const ValueId hidden = r.value("h", 4), each = r.value("e", 2), sum = r.value("s", 1);
  r.emit("up", ExpertLinear{.x = x, .w = up, .ids = ids, .out = hidden});         // experts 0 and 2: (1,2) and (2,4)
  r.emit("down", ExpertLinear{.x = hidden, .w = down, .ids = ids, .out = each});  // 3 and 60
  r.emit("sum", ExpertSum{.x = each, .weights = w, .out = sum});
  expect_near(run(p.finish(sum), 1), {31.5}, 1e-6);
}

}  // namespace
}  // namespace stretto::test
