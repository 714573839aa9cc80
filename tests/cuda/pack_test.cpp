// Packing into units, read back with the kernels' own code, and the tuning of launches. No GPU needed.
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "cuda/decode_attention.h"
#include "cuda/gemv.h"
#include "cuda/packed.h"
#include "cuda/quantized.h"
#include "formats/formats.h"
#include "ops/case_builder.h"
#include "ops/cases.h"

namespace stretto::cuda {
namespace {

constexpr DType kTypes[] = {DType::kF32,  DType::kF16,    DType::kBF16,   DType::kQ4_0, DType::kQ4_1, DType::kQ5_0,
                            DType::kQ5_1, DType::kQ8_0,   DType::kQ2_K,   DType::kQ3_K, DType::kQ4_K, DType::kQ5_K,
                            DType::kQ6_K, DType::kIQ4_NL, DType::kIQ4_XS, DType::kMXFP4};
static_assert(std::size(kTypes) == std::tuple_size_v<Formats>);

const DeviceShape kH100{.n_sm = 132, .shared_bytes_per_sm = 228 << 10, .shared_bytes_per_block = 227 << 10};

// Packs n_rows <= 4 rows of random blocks and compares every value with its definition, bit for bit.
void expect_values_survive(DType type, uint64_t n_in, uint64_t n_rows) {
  std::mt19937 rng(static_cast<uint32_t>(n_in + 7 * n_rows));
  const std::vector<std::byte> stored = test::random_bytes(type, n_rows, n_in, rng);
  const PackedShape shape = packed_shape(type, n_rows, n_in);
  const uint64_t bytes = row_bytes(type, n_in);
  const std::byte* rows[kGroupRows] = {};
  for (uint64_t r = 0; r < n_rows; ++r) rows[r] = stored.data() + r * bytes;
  std::vector<std::byte> memory(shape.group_bytes() + 16, std::byte{0x5a});
  std::byte* const group = memory.data() + (16 - reinterpret_cast<uintptr_t>(memory.data()) % 16) % 16;
  pack_group(shape, rows, group);
  for (uint64_t r = 0; r < kGroupRows; ++r) {
    std::vector<float> expected(n_in);
    if (rows[r] != nullptr) decode_row(type, rows[r], n_in, expected.data());
    EXPECT_EQ(unpack_row(shape, group, r), expected) << name(type) << ' ' << n_in << " row " << r;
  }
}

TEST(Pack, EveryValueOfEveryFormatIsReadBack) {
  for (const DType type : kTypes) {
    const uint64_t block = info(type).block_elements;
    for (const uint64_t blocks : {1, 2, 3, 5, 16, 33})
      for (const uint64_t n_rows : {1, 3, 4}) expect_values_survive(type, blocks * (block == 1 ? 13 : block), n_rows);
  }
}

TEST(Pack, UnitsHoldNoByteMoreThanStored) {
  for (const DType type : kTypes) {
    const PackedShape shape = packed_shape(type, 4, 512 * 9);
    EXPECT_EQ(shape.bytes(), 4 * row_bytes(type, 512 * 9)) << name(type);
    EXPECT_EQ(shape.unit.bytes % 16, 0u) << name(type);
  }
  EXPECT_EQ(unit_shape(DType::kI32).cols, 0u);
}

TEST(Tune, GemvFitsTheDeviceAndUsesAllOfIt) {
  for (const DType type : kTypes) {
    for (const uint64_t n_in : {512, 2560, 4096, 12288}) {
      for (const uint64_t n_rows : {1, 37, 1024, 6144, 151936}) {
        const PackedShape shape = packed_shape(type, n_rows, n_in);
        const GemvTuning t = tune_gemv(shape, true, kH100, {});
        EXPECT_LE(t.shared_bytes, kH100.shared_bytes_per_block);
        EXPECT_EQ(t.n_blocks, std::min<uint64_t>(shape.n_groups(), kH100.n_sm)) << name(type);
        EXPECT_GE(t.n_stages, 1u);
        EXPECT_GE(t.units_per_stage, 1u);
      }
    }
  }
}

// One block fills an SM, so that the next kernel's stream does not compete with it; but the product behind attention
// has to fit beside an attention block of 107 KB.
TEST(Tune, OneKernelOfACommonModelFillsAnSmAndOneFitsBesideAttention) {
  struct Case {
    DType type;
    uint64_t rows, cols;
  };
  for (const Case c :
       {Case{DType::kQ8_0, 24576, 4096}, Case{DType::kQ8_0, 4096, 12288}, Case{DType::kQ4_K, 24576, 4096},
        Case{DType::kQ6_K, 4096, 12288}, Case{DType::kF16, 16384, 2048}, Case{DType::kF16, 2048, 8192}}) {
    const PackedShape shape = packed_shape(c.type, c.rows, c.cols);
    const GemvTuning t = tune_gemv(shape, c.cols < 8192, kH100, {});
    EXPECT_GT(2 * (t.shared_bytes + 1024), kH100.shared_bytes_per_sm) << name(c.type) << ' ' << c.cols;
  }
  for (const DType type : {DType::kQ8_0, DType::kQ4_K, DType::kQ6_K, DType::kF16}) {
    const GemvTuning t = tune_gemv(packed_shape(type, 4096, 4096), false, kH100, {.beside_attention = true});
    EXPECT_LE(t.shared_bytes + 1024 + (107 << 10) + 1024, kH100.shared_bytes_per_sm) << name(type);
  }
}

// The blocks of a small matrix do not crowd on a few SMs: with a block of another kernel there, one fits beside it.
TEST(Tune, BlocksOfSmallMatricesSpreadOverTheDevice) {
  constexpr uint32_t kPerBlock = 1024;  // that the system takes
  for (const uint64_t rows : {96, 1024, 1536}) {
    const GemvTuning t = tune_gemv(packed_shape(DType::kBF16, rows, 1024), true, kH100, {});
    EXPECT_GT(3 * (t.shared_bytes + kPerBlock), kH100.shared_bytes_per_sm);
    EXPECT_LE(2 * (t.shared_bytes + kPerBlock), kH100.shared_bytes_per_sm);
  }
  const GemvTuning two = tune_gemv(packed_shape(DType::kBF16, 1536, 1024), true, kH100, {.blocks_per_sm = 2});
  EXPECT_GT(5 * (two.shared_bytes + kPerBlock), kH100.shared_bytes_per_sm);
  EXPECT_LE(4 * (two.shared_bytes + kPerBlock), kH100.shared_bytes_per_sm);
  EXPECT_EQ(two.n_blocks, 264U);
}

// Blocks that quantise what they make own whole blocks of 32 results.
TEST(Tune, RunsOfGroupsStayTogether) {
  const PackedShape shape = packed_shape(DType::kQ8_0, 24576, 4096);
  const GemvTuning t = tune_gemv(shape, true, kH100, {}, kQuantizedGroups);
  EXPECT_EQ(t.run_groups, kQuantizedGroups);
  EXPECT_EQ(t.n_blocks, kH100.n_sm);
}

// The cases of a whole feed-forward block go that way wherever the second matrix multiplies integers.
TEST(Tune, AWideMiddleVectorTravelsQuantised) {
  int n_seen = 0;
  for (const test::OpCase& c : test::op_cases()) {
    if (!c.name.starts_with("feed_forward_")) continue;
    const std::vector<bool> quantized = quantized_values(c.program, kH100);
    EXPECT_EQ(std::ranges::count(quantized, true), c.name == "feed_forward_F16" ? 0 : 1) << c.name;
    ++n_seen;
  }
  EXPECT_EQ(n_seen, 4);
}

TEST(Tune, AChoiceOverridesWhatItNames) {
  const PackedShape shape = packed_shape(DType::kQ8_0, 4096, 4096);
  const GemvTuning t = tune_gemv(shape, false, kH100, {.n_warps = 4, .blocks_per_sm = 2, .stage_bytes = 4400});
  EXPECT_EQ(t.n_warps, 4u);
  EXPECT_EQ(t.n_blocks, 264u);
  EXPECT_EQ(t.units_per_stage, 2u);
}

TEST(Tune, FewUnitsHaveFewerWarps) {
  const auto warps = [](uint64_t rows, uint64_t columns, const GemvChoice& choice) {
    return tune_gemv(packed_shape(DType::kQ4_K, rows, columns), false, kH100, choice).n_warps;
  };
  EXPECT_EQ(warps(2048, 4096, {}), 8u);  // four groups of eight units to a block
  EXPECT_EQ(warps(5120, 2048, {}), 12u);
  EXPECT_EQ(warps(2048, 4096, {.n_warps = 12}), 12u);
}

TEST(Tune, ShortContextsHaveShortRuns) {
  EXPECT_EQ(active_runs(1, 32, 8), 1U);
  EXPECT_EQ(active_runs(9, 32, 8), 2U);
  EXPECT_EQ(active_runs(65, 16, 8), 8U);
  EXPECT_EQ(active_runs(129, 32, 8), 16U);
  EXPECT_EQ(active_runs(129, 16, 8), 9U);
  EXPECT_EQ(active_runs(257, 16, 8), 16U);
  EXPECT_EQ(active_runs(8192, 32, 8), 32U);
  EXPECT_EQ(active_runs(100, 1, 8), 1U);
}

TEST(Tune, AttentionSplitsTheContextOverTheDevice) {
  const DecodeAttentionTuning t = tune_decode_attention(DType::kF16, 32, 8, 128, kH100, {});
  EXPECT_GE((t.n_splits + 1) * 8, kH100.n_sm);
  EXPECT_EQ(t.n_stages, 4u);
  EXPECT_EQ(t.n_early_stages, 3u);
  EXPECT_EQ(tune_decode_attention(DType::kF16, 32, 4, 128, kH100, {}).n_stages, 3u) << "eight heads to a block";
  EXPECT_EQ(t.min_granules, 8u);
  EXPECT_EQ(tune_decode_attention(DType::kF16, 32, 4, 128, kH100, {}).min_granules, 10u) << "eight heads to a block";
  EXPECT_EQ(t.trigger, Trigger::kEntry);
  EXPECT_EQ(tune_decode_attention(DType::kF16, 32, 8, 128, kH100, {.trigger = 1}).trigger, Trigger::kInput);
  constexpr DeviceShape kSmall{.n_sm = 128, .shared_bytes_per_sm = 100 << 10, .shared_bytes_per_block = 99 << 10};
  EXPECT_EQ(tune_decode_attention(DType::kF16, 32, 8, 128, kSmall, {}).n_stages, 2u);
  // In the same memory, beside the granule that is expanded.
  EXPECT_EQ(tune_decode_attention(DType::kF8_E4M3, 32, 8, 128, kH100, {}).n_stages, 6u);
  EXPECT_EQ(tune_decode_attention(DType::kQ8_0, 32, 8, 128, kH100, {}).n_stages, 5u);
  EXPECT_EQ(tune_decode_attention(DType::kF8_E4M3, 32, 8, 64, kH100, {}).n_stages, 6u);
  EXPECT_FALSE(decode_attention_supports(DType::kF16, 96));
  EXPECT_TRUE(decode_attention_supports(DType::kBF16, 128));
  EXPECT_TRUE(decode_attention_supports(DType::kQ8_0, 64));
  EXPECT_FALSE(decode_attention_supports(DType::kF32, 64));
}

}  // namespace
}  // namespace stretto::cuda
