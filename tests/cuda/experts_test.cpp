// How the weights of experts lie and how their products are cut: without a device.
#include <gtest/gtest.h>

#include "cuda/expert_gemm.h"
#include "cuda/experts.h"

namespace stretto::test {
namespace {

using cuda::ExpertMode;
using cuda::ExpertShape;

constexpr cuda::DeviceShape kH100{.n_sm = 132, .shared_bytes_per_sm = 228 << 10, .shared_bytes_per_block = 227 << 10};

ExpertShape shape(DType type, uint64_t n_experts, uint64_t n_out, uint64_t n_in, bool gate_up) {
  return cuda::expert_shape({.name = "w", .type = type, .shape = {n_experts, n_out, n_in}}, gate_up);
}

TEST(CudaExperts, TwoRowsThatFillUnitsTogetherAreNotPadded) {
  const ExpertShape down = shape(DType::kQ4_K, 128, 2048, 768, false);
  EXPECT_EQ(down.fold, 2U);
  EXPECT_EQ(down.n_units(), 3U);
  EXPECT_EQ(down.packed.bytes(), uint64_t{128} * 2048 * row_bytes(DType::kQ4_K, 768));
  const ExpertShape gate_up = shape(DType::kQ4_K, 128, 768, 2048, true);
  EXPECT_EQ(gate_up.fold, 1U);
  EXPECT_EQ(gate_up.n_groups, 384U);
  EXPECT_EQ(gate_up.packed.bytes(), uint64_t{2} * 128 * 768 * row_bytes(DType::kQ4_K, 2048));
}

TEST(CudaExperts, EveryExpertBeginsWithAGroup) {
  EXPECT_EQ(shape(DType::kQ8_0, 5, 21, 96, false).n_groups, 6U);
  EXPECT_EQ(shape(DType::kQ8_0, 5, 21, 96, true).n_groups, 11U);
  EXPECT_EQ(shape(DType::kQ4_K, 5, 21, 768, false).fold, 1U) << "an odd row would have no neighbour";
  EXPECT_EQ(shape(DType::kF16, 5, 20, 128, false).fold, 1U);
}

TEST(CudaExperts, GateUpAndTheSumFitOnOneMultiprocessorTogether) {
  const auto gate_up =
      cuda::tune_expert_gemv(shape(DType::kQ4_K, 128, 768, 2048, true), ExpertMode::kGateUp, 8, true, kH100);
  EXPECT_EQ(gate_up.n_blocks, 132U);
  for (const DType type : {DType::kQ4_K, DType::kQ6_K}) {
    const auto sum = cuda::tune_expert_gemv(shape(type, 128, 2048, 768, false), ExpertMode::kSum, 8, false, kH100);
    EXPECT_EQ(sum.n_blocks, 132U);
    EXPECT_LE(gate_up.shared_bytes + sum.shared_bytes + 2 * 1024, kH100.shared_bytes_per_sm) << name(type);
  }
}

// For as long as gate_up's weights take, where both kernels are on a multiprocessor.
TEST(CudaExperts, TheSumWaitsWhileGateUpReads) {
  const ExpertShape gate_up = shape(DType::kQ4_K, 128, 768, 2048, true);
  const auto first = cuda::tune_expert_gemv(gate_up, ExpertMode::kGateUp, 8, true, kH100);
  auto sum = cuda::tune_expert_gemv(shape(DType::kQ6_K, 128, 2048, 768, false), ExpertMode::kSum, 8, false, kH100);
  EXPECT_EQ(sum.trigger, cuda::Trigger::kAsked);
  const uint32_t cycles = cuda::sum_pause_cycles(gate_up, first, sum, 8, kH100);
  EXPECT_GT(cycles, 8200U);  // the best of those measured, at two depths
  EXPECT_LT(cycles, 8600U);
  sum.shared_bytes = kH100.shared_bytes_per_block - first.shared_bytes;
  EXPECT_EQ(cuda::sum_pause_cycles(gate_up, first, sum, 8, kH100), 0U);
}

TEST(CudaExperts, EveryTuningFitsTheDevice) {
  for (const DType type : {DType::kF32, DType::kBF16, DType::kQ8_0, DType::kQ6_K, DType::kQ4_K})
    for (const uint64_t n_in : {256, 768, 2048, 4096})
      for (const uint32_t top_k : {1, 2, 8})
        for (const ExpertMode mode : {ExpertMode::kPlain, ExpertMode::kGateUp, ExpertMode::kSum}) {
          const bool shared_x = mode != ExpertMode::kSum;
          if (!shared_x && type == DType::kF32 && n_in > 2048) continue;  // refused by supports()
          const auto t = cuda::tune_expert_gemv(shape(type, 16, 512, n_in, mode == ExpertMode::kGateUp), mode, top_k,
                                                shared_x, kH100);
          EXPECT_GE(t.n_stages, 1U);
          EXPECT_LE(t.n_warps, 16U);
          EXPECT_LE(t.shared_bytes, kH100.shared_bytes_per_block) << name(type) << ' ' << n_in << ' ' << top_k;
        }
}

TEST(CudaExperts, TilesHoldWhateverIsChosen) {
  EXPECT_EQ(cuda::max_expert_tiles(16384, 128), 384U);  // full tiles and a last one per expert
  EXPECT_EQ(cuda::max_expert_tiles(9, 128), 9U);        // every pair an expert of its own
}

}  // namespace
}  // namespace stretto::test
