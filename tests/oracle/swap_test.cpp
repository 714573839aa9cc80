// The ops of swap layers against values worked out by hand.

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <set>

#include "ops/op_program.h"
#include "oracle/oracle_backend.h"

namespace stretto::test {
namespace {

std::vector<float> run(const Program& p, uint64_t n_tokens, uint64_t chunk = 0) {
  return run_rows(p, *make_oracle_backend(), n_tokens, chunk);
}

void expect_near(const std::vector<float>& got, const std::vector<double>& wanted, double tolerance = 1e-6) {
  ASSERT_EQ(got.size(), wanted.size());
  for (size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], wanted[i], tolerance) << i;
}

// The network, exchange by exchange.
uint32_t by_exchanges(uint32_t map, uint32_t switches) {
  constexpr std::array<std::pair<int, int>, 6> kPairs{{{0, 1}, {2, 3}, {0, 2}, {1, 3}, {0, 1}, {2, 3}}};
  std::array<uint32_t, 4> fields{map & 3, map >> 2 & 3, map >> 4 & 3, map >> 6 & 3};
  for (size_t j = 0; j < kPairs.size(); ++j)
    if (switches >> j & 1) std::swap(fields[kPairs[j].first], fields[kPairs[j].second]);
  return fields[0] | fields[1] << 2 | fields[2] << 4 | fields[3] << 6;
}

TEST(Benes, EqualsSixExchangesAndReachesEveryPermutation) {
  std::set<uint32_t> reached;
  for (uint32_t switches = 0; switches < 64; ++switches) {
    for (uint32_t map = 0; map < 256; ++map) ASSERT_EQ(benes(map, switches), by_exchanges(map, switches));
    reached.insert(benes(kStreamOrder, switches));
  }
  EXPECT_EQ(reached.size(), 24U);
  EXPECT_EQ(stream_row(kStreamOrder, 3), 3U);
}

// Two values wide; logits are chosen by the weights alone: the vector (1, 1) normalises to itself.
struct Event {
  OpProgram p;
  std::vector<float> router_bias{0, 0, 0}, switch_bias = std::vector<float>(6, 0.0F);
  SwapRoute route;

  const SwapRoute& emit(const std::vector<float>& ram) {
    Recorder& r = p.recorder();
    const auto zeros = [&](const Shape& shape) { return p.weight(shape, std::vector<float>(shape.elements(), 0.0F)); };
    route.v = p.input(2, {1, 1});
    route.ram = p.input(8, ram);
    route.first = true;
    route.norm = p.weight(Shape{2}, {1, 1});
    route.router = zeros(Shape{3, 2});
    route.router_bias = p.weight(Shape{3}, router_bias);
    route.switches = zeros(Shape{6, 2});
    route.switch_bias = p.weight(Shape{6}, switch_bias);
    route.read = zeros(Shape{1, 2});
    route.read_bias = p.weight(Shape{1}, {static_cast<float>(std::log(3.0))});  // sigmoid: 3 / 4
    route.out = r.value("out", 2);
    route.bank = r.value("bank", 1, Rows::kTokens, DType::kI32);
    route.streams_out = r.value("streams", kStreamFields, Rows::kTokens, DType::kI32);
    r.emit("route", route);
    return route;
  }
};

const std::vector<float> kRam{10, 20, 30, 40, 50, 60, 70, 80};

TEST(SwapRoute, ASwitchAtZeroStaysAndStreamZeroIsRead) {
  Event e;
  const ValueId out = e.emit(kRam).out;
  expect_near(run(e.p.finish(out), 1), {1 + 7.5, 1 + 15});
}

TEST(SwapRoute, SwitchesMoveStreamZero) {
  Event e;
  e.switch_bias = {1, -1, 1, -1, -1, -1};  // fields 0 and 1, then 0 and 2: stream 0 ends at row 2
  const ValueId out = e.emit(kRam).out;
  expect_near(run(e.p.finish(out), 1), {1 + 37.5, 1 + 45});
}

// The bank is seen through a bank-dependent product.
double bank_of(const std::vector<float>& bias) {
  Event e;
  e.router_bias = bias;
  const ValueId bank = e.emit(kRam).bank, y = e.p.recorder().value("y", 1);
  e.p.recorder().emit(
      "see", ExpertLinear{.x = e.route.v, .w = e.p.weight(Shape{3, 1, 2}, {0, 0, 1, 0, 2, 0}), .ids = bank, .out = y});
  return run(e.p.finish(y), 1)[0];
}

TEST(SwapRoute, TheLargestLogitChoosesTheLowestOfEquals) {
  EXPECT_EQ(bank_of({0, 0, 0}), 0);
  EXPECT_EQ(bank_of({0, 1, 1}), 1);
  EXPECT_EQ(bank_of({0, 1, 2}), 2);
}

TEST(SwapWrite, ReplacesTheRowOfStreamZero) {
  Event e;
  e.switch_bias = {1, -1, -1, -1, -1, -1};
  const SwapRoute& route = e.emit(kRam);
  const ValueId out = e.p.recorder().value("ram", 8);
  e.p.recorder().emit("write", SwapWrite{.v = route.v, .streams = route.streams_out, .ram = route.ram, .out = out});
  expect_near(run(e.p.finish(out), 1), {10, 20, 1, 1, 50, 60, 70, 80});
}

TEST(SwapCollapse, AddsTheRowOfTheChosenStream) {
  Event e;
  e.switch_bias = {1, -1, 1, -1, -1, -1};  // streams 0, 1, 2, 3 at rows 2, 0, 1, 3
  const SwapRoute& route = e.emit(kRam);
  const ValueId out = e.p.recorder().value("out", 2), h = e.p.input(2, {0.5F, 0.25F});
  e.p.recorder().emit("collapse", SwapCollapse{.v = route.v,
                                               .ram = route.ram,
                                               .streams = route.streams_out,
                                               .residual = h,
                                               .norm = e.p.weight(Shape{2}, {1, 1}),
                                               .w = e.p.weight(Shape{4, 2}, std::vector<float>(8, 0.0F)),
                                               .bias = e.p.weight(Shape{4}, {0, 2, 2, 1}),
                                               .out = out,
                                               .eps = 0,
                                               .hooks = {}});
  expect_near(run(e.p.finish(out), 1), {10.5, 20.25});  // stream 1, the lower of two equals
}

TEST(Sequential, AStateIsCarriedFromTokenToToken) {
  OpProgram p;
  Recorder& r = p.recorder();
  const ValueId x = p.input(1, {1, 2, 3, 4}), before = r.value("before", 1), sum = r.value("sum", 1);
  const StateId state = r.state({"sums", DType::kF32, Growth::kPerPosition, 1});
  r.set_sequential(true);
  r.emit("read", StateRead{.state = state, .out = before, .lag = 1});
  r.emit("add", Add{.a = x, .b = before, .out = sum});
  r.emit("write", StateWrite{.x = sum, .state = state});
  r.set_sequential(false);
  const Program program = p.finish(sum);
  for (const uint64_t chunk : {0, 1, 3}) expect_near(run(program, 4, chunk), {1, 3, 6, 10});
}

}  // namespace
}  // namespace stretto::test
