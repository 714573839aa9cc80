#include <gtest/gtest.h>

#include <algorithm>

#include "base/error.h"
#include "base/threads.h"
#include "cpu/arena.h"
#include "cpu/cpu_backend.h"
#include "ops/case_builder.h"
#include "ops/compare.h"

namespace stretto::test {
namespace {

TEST(CpuBackend, NamesItsInstructionSets) {
  const std::vector<std::string> isas = cpu_isas();
  ASSERT_FALSE(isas.empty());
  EXPECT_EQ(isas.back(), "scalar");
  const auto backend = make_cpu_backend({.n_threads = 3, .isa = {}});
  EXPECT_EQ(backend->name(), "cpu");
  EXPECT_NE(backend->description().find(isas.front()), std::string::npos) << backend->description();
  EXPECT_NE(backend->description().find("3 threads"), std::string::npos) << backend->description();
}

TEST(CpuBackend, RefusesAnUnknownInstructionSet) {
  try {
    make_cpu_backend({.n_threads = 0, .isa = "avx9000"});
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::kBadArgument);
    EXPECT_NE(std::string(e.what()).find("scalar"), std::string::npos) << e.what();
  }
  EXPECT_THROW(make_cpu_backend({.n_threads = -1, .isa = {}}), Error);
}

TEST(CpuBackend, RefusesAWeightTypeItCannotMultiply) {
  const std::vector<std::byte> bytes(8 * 4 * sizeof(float));
  const WeightSlice table{{DType::kF32, {8, 4}, bytes}, 0, 8, RowOrder::kAsStored, 0};
  const WeightSlice integers{{DType::kI8, {2, 4}, bytes}, 0, 2, RowOrder::kAsStored, 0};
  Recorder r("bad");
  const ValueId x = r.value("x", 4), taken = r.value("t", 4, Rows::kOutputs), y = r.value("y", 2, Rows::kOutputs);
  r.emit("in", Embed{.table = r.weight({"t", DType::kF32, {8, 4}}, {{table}}), .out = x});
  r.emit("take", TakeOutputs{.x = x, .out = taken});
  r.emit("head", Linear{.x = taken, .w = r.weight({"w", DType::kI8, {2, 4}}, {{integers}}), .bias = {}, .out = y});
  const Program program = r.finish(y);
  try {
    make_cpu_backend({})->compile(program, {});
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::kUnsupported);
    EXPECT_NE(std::string(e.what()).find("Linear"), std::string::npos) << e.what();
  }
}

TEST(CpuBackend, KeepsTheFusedOpsItHasKernelsFor) {
  CaseBuilder b(2);
  const ValueId x = b.input(8), r = b.input(6), y = b.value(6);
  b.emit(LinearAdd{.x = x, .w = b.weight(DType::kF32, {6, 8}), .bias = {}, .residual = r, .out = y});
  const OpCase c = b.finish("fused", y, 0);
  const Program lowered = make_cpu_backend({})->lower(c.program);
  EXPECT_EQ(lowered.nodes.size(), c.program.nodes.size());
  EXPECT_TRUE(std::any_of(lowered.nodes.begin(), lowered.nodes.end(),
                          [](const Node& n) { return std::holds_alternative<LinearAdd>(n.op); }));
}

TEST(CpuBackend, GathersReorderedAndSplitWeights) {
  // The same matrix as one run of bytes and as two slices of a larger tensor in interleaved-pair order.
  constexpr uint64_t kHeads = 3, kHeadDim = 8, kIn = 32;
  std::mt19937 rng(5);
  const std::vector<std::byte> stored = random_bytes(DType::kQ8_0, kHeads * kHeadDim, kIn, rng);
  const uint64_t row = row_bytes(DType::kQ8_0, kIn);
  std::vector<std::byte> wanted(stored.size());
  for (uint64_t i = 0; i < kHeads * kHeadDim; ++i) {
    const uint64_t head = i / kHeadDim, r = i % kHeadDim;
    const uint64_t from = head * kHeadDim + 2 * (r % (kHeadDim / 2)) + r / (kHeadDim / 2);
    std::copy_n(stored.begin() + static_cast<int64_t>(from * row), row, wanted.begin() + static_cast<int64_t>(i * row));
  }
  const std::vector<std::byte> table = random_bytes(DType::kF32, 4, kIn, rng);
  const auto logits = [&](std::vector<WeightSlice> slices) {
    Recorder r("gather");
    const WeightSlice table_slice{{DType::kF32, {4, kIn}, table}, 0, 4, RowOrder::kAsStored, 0};
    const ValueId x = r.value("x", kIn), taken = r.value("t", kIn, Rows::kOutputs);
    const ValueId y = r.value("y", kHeads * kHeadDim, Rows::kOutputs);
    r.emit("in", Embed{.table = r.weight({"t", DType::kF32, {4, kIn}}, {{table_slice}}), .out = x});
    r.emit("take", TakeOutputs{.x = x, .out = taken});
    const WeightId w = r.weight({"w", DType::kQ8_0, {kHeads * kHeadDim, kIn}}, {std::move(slices)});
    r.emit("head", Linear{.x = taken, .w = w, .bias = {}, .out = y});
    const auto executable = make_cpu_backend({.n_threads = 2, .isa = {}})->compile(r.finish(y), {});
    const std::vector<int32_t> tokens = {2}, outputs = {0};
    const auto result = executable->run({.tokens = tokens, .position = 0, .outputs = outputs});
    return std::vector<float>(result.begin(), result.end());
  };
  const Shape shape{kHeads * kHeadDim, kIn};
  const WeightSlice whole{{DType::kQ8_0, shape, wanted}, 0, kHeads * kHeadDim, RowOrder::kAsStored, 0};
  const WeightSlice first{{DType::kQ8_0, shape, stored}, 0, kHeadDim, RowOrder::kInterleavedPairs, kHeadDim};
  const WeightSlice rest{{DType::kQ8_0, shape, stored}, kHeadDim, 2 * kHeadDim, RowOrder::kInterleavedPairs, kHeadDim};
  EXPECT_EQ(logits({whole}), logits({first, rest}));
}

TEST(CpuBackend, StepsMayOverwriteTheEndOfTheState) {
  CaseBuilder b(6);
  const ValueId q = b.input(8), k = b.input(8), v = b.input(8), y = b.value(8);
  const StateId k_cache = b.cache(DType::kF16, 8), v_cache = b.cache(DType::kF16, 8);
  b.emit(KvAppend{.k = k, .v = v, .k_cache = k_cache, .v_cache = v_cache});
  b.emit(Attention{.q = q,
                   .k_cache = k_cache,
                   .v_cache = v_cache,
                   .out = y,
                   .n_heads = 1,
                   .n_kv_heads = 1,
                   .head_dim = 8,
                   .scale = 1,
                   .window = 0});
  const OpCase c = b.finish("rollback", y, 0, {9});
  const auto executable =
      make_cpu_backend({})->compile(c.program, {.n_ctx = 9, .max_tokens = 9, .max_outputs = 9, .n_threads = 2});
  const std::vector<int32_t> a = {1, 2, 3, 4}, other = {9, 9}, tail = {3, 4}, outputs = {0, 1}, all = {0, 1, 2, 3};
  const auto first = executable->run({.tokens = a, .position = 0, .outputs = all});
  const std::vector<float> expected(first.begin() + 16, first.end());
  executable->run({.tokens = other, .position = 2, .outputs = outputs});
  const auto again = executable->run({.tokens = tail, .position = 2, .outputs = outputs});
  EXPECT_EQ(std::vector<float>(again.begin(), again.end()), expected);
  EXPECT_TRUE(executable->run({.tokens = tail, .position = 4, .outputs = {}}).empty());
  EXPECT_GT(executable->memory_bytes(), 2u * 9 * 8 * 2);
}

TEST(CpuBackend, AvailableMemoryIsPlausible) {
  const uint64_t available = cpu::available_host_bytes();
  EXPECT_GT(available, 1u << 20);
  EXPECT_LT(available, uint64_t{1} << 50);
}

TEST(CpuBackend, AnArenaThatCannotBeHadNamesItsPurpose) {
  try {
    cpu::Arena arena(uint64_t{1} << 60, "the test");
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::kHostMemory);
    EXPECT_NE(std::string(e.what()).find("the test"), std::string::npos);
  }
}

}  // namespace
}  // namespace stretto::test
