// What the backend says about its own speed: complete and of the right size, whatever the numbers.
#include <gtest/gtest.h>

#include <algorithm>
#include <thread>

#include "cuda/device.h"
#include "cuda/packed.h"
#include "cuda/plan_program.h"
#include "cuda/slow_weights.h"
#include "cuda/weight_copies.h"
#include "models/reference_models.h"
#include "program/plan.h"

namespace stretto::test {
namespace {

TEST(CudaProfile, EveryRoleHasATimeAndTheStepIsUnchanged) {
  SKIP_WITHOUT_DEVICE();
  const auto checkpoint = open_checkpoint(ReferenceCase{"gguf/llama.q8_0"}.model_path());
  const Model model = load_model(*checkpoint, {.kv_type = DType::kF16});
  for (const bool graph : {true, false}) {
    const auto executable =
        make_cuda_backend({.graph = graph})->compile(model.program, {.n_ctx = 64, .max_tokens = 4, .max_outputs = 1});
    const int32_t token = 3, output = 0;
    const Step step{.tokens = {&token, 1}, .position = 0, .outputs = {&output, 1}};
    const auto first = executable->run(step);
    const std::vector<float> before(first.begin(), first.end());
    const auto p = executable->profile({.token = 3, .position = 1, .n_steps = 8, .n_rounds = 2});
    ASSERT_TRUE(p.has_value());
    EXPECT_GT(p->token_us, 0);
    EXPECT_GT(p->device_us, 0);
    uint64_t n_launches = 0;
    for (const RoleTime& r : p->roles) {
      EXPECT_GT(r.us, 0) << r.role;
      EXPECT_GT(r.n_launches, 0U) << r.role;
      n_launches += r.n_launches;
    }
    EXPECT_EQ(n_launches, p->n_launches);
    EXPECT_EQ(p->n_launches, executable->launches_per_token() + 1);
    EXPECT_EQ(executable->graph_launches_per_token(), graph ? 1 : executable->launches_per_token());
    const auto again = executable->run(step);
    EXPECT_EQ(std::vector<float>(again.begin(), again.end()), before);
  }
}

TEST(CudaProfile, ShowsTheInsideOfTheStream) {
  SKIP_WITHOUT_DEVICE();
  const auto checkpoint = open_checkpoint(ReferenceCase{"gguf/llama.q8_0"}.model_path());
  const Model model = load_model(*checkpoint, {.kv_type = DType::kF16});
  const auto executable = make_cuda_backend({.decode = DecodePath::kStream})
                              ->compile(model.program, {.n_ctx = 64, .max_tokens = 4, .max_outputs = 1});
  const auto p = executable->profile({.token = 3, .position = 1, .n_steps = 8, .n_rounds = 2});
  ASSERT_TRUE(p.has_value() && p->stream.has_value());
  EXPECT_GT(p->stream->token_us, 0);
  const Accounting costs = account(executable->program(), {.n_tokens = 1, .n_outputs = 1, .position = 1});
  uint64_t bytes = 0;
  std::vector<std::string> roles;
  for (const PhaseTime& phase : p->stream->phases) {
    EXPECT_GT(phase.work_us, 0) << phase.role << ", layer " << phase.layer;
    EXPECT_GE(phase.most_work_us, phase.work_us) << phase.role;
    EXPECT_GT(phase.n_busy, 0U) << phase.role;
    EXPECT_LE(phase.ring_share.value_or(0), 1) << phase.role;
    if (phase.ring_share) bytes += phase.bytes;
    if (std::ranges::find(roles, phase.role) == roles.end()) roles.push_back(phase.role);
  }
  // The weights that the rings bring; rows of norms and of the embedding come another way, and packing pads columns.
  uint64_t packed = 0;
  for (const WeightInfo& w : executable->program().tables.weights)
    if (w.shape.rank() == 2) packed += cuda::packed_shape(w.type, w.shape.rows(), w.shape.cols()).bytes();
  EXPECT_GE(bytes, costs.total.weight_bytes * 9 / 10);
  EXPECT_LE(bytes, packed);
  for (const char* role : {"attn_qkv", "attn", "attn_output", "ffn_gate_up", "ffn_down", "head"})
    EXPECT_NE(std::ranges::find(roles, role), roles.end()) << role;
  // What is taken apart beside it is the graph, and nothing stays behind.
  EXPECT_FALSE(p->roles.empty());
  EXPECT_TRUE(executable->start_greedy(3, 1));
  executable->next_token();
}

TEST(CudaLimits, AreAllMeasured) {
  SKIP_WITHOUT_DEVICE();
  std::vector<std::string> names;
  for (const DeviceLimit& l : make_cuda_backend({})->measure_limits()) {
    EXPECT_TRUE(l.us > 0 || l.gbps > 0) << l.what;
    if (names.empty() || names.back() != l.what) names.push_back(l.what);
  }
  EXPECT_EQ(names, (std::vector<std::string>{"read_sweep", "cold_read", "l2_read", "copy", "empty_kernel",
                                             "empty_kernel_pdl", "grid_barrier"}));
}

TEST(CudaWatch, SamplesOnlyWhileResumed) {
  SKIP_WITHOUT_DEVICE();
  const auto watch = make_cuda_backend({})->make_watch();
  if (!watch->problem().empty()) GTEST_SKIP() << watch->problem();
  EXPECT_EQ(watch->take().n_samples, 0U);
  watch->resume();
  std::this_thread::sleep_for(std::chrono::milliseconds(150));
  watch->pause();
  const DeviceState state = watch->take();
  EXPECT_GT(state.n_samples, 1U);
  EXPECT_GT(state.clock_sm_mhz_avg.value_or(0), 100);
  EXPECT_GE(state.clock_sm_mhz_avg.value_or(0), state.clock_sm_mhz_min.value_or(1e9));
  EXPECT_GT(state.power_limit_w.value_or(0), 10);
  std::this_thread::sleep_for(std::chrono::milliseconds(60));
  EXPECT_LE(watch->take().n_samples, 1U);
}

// Two bytes per weight of every matrix but the head, of which a step multiplies one row only.
TEST(WeightCopies, AreKnownBeforeAnythingIsLoaded) {
  const cuda::DeviceShape h100{.n_sm = 132, .shared_bytes_per_sm = 233472, .shared_bytes_per_block = 232448};
  const auto checkpoint = open_checkpoint(ReferenceCase{"gguf/qwen3.f16"}.model_path());
  const Model model = load_model(*checkpoint, {.kv_type = DType::kF16});
  uint64_t elements = 0;
  for (const WeightInfo& w : model.program.tables.weights)
    if (w.shape.rank() == 2 && w.name.starts_with("blk.")) elements += w.shape.elements();
  const auto bytes = [&](uint64_t max_tokens) {
    return cuda::copies_bytes(
        cuda::plan_program(model.program, {.n_ctx = 64, .max_tokens = max_tokens, .max_outputs = 1}, h100));
  };
  EXPECT_EQ(bytes(64), 2 * elements);
  EXPECT_EQ(bytes(1), 0U);
}

TEST(SlowWeights, AreTheFormatsWithoutUnitsOfTheirOwn) {
  for (const DType type :
       {DType::kF32, DType::kF16, DType::kBF16, DType::kQ8_0, DType::kQ4_0, DType::kQ4_K, DType::kQ5_K, DType::kQ6_K})
    EXPECT_FALSE(cuda::multiplies_stored_blocks(type)) << name(type);
  for (const DType type : {DType::kQ4_1, DType::kQ5_0, DType::kQ5_1, DType::kQ2_K, DType::kQ3_K, DType::kIQ4_NL,
                           DType::kIQ4_XS, DType::kMXFP4})
    EXPECT_TRUE(cuda::multiplies_stored_blocks(type)) << name(type);
  Program p;
  for (const char* name : {"a", "b", "c", "d"}) p.tables.weights.push_back({name, DType::kQ2_K, {8, 256}});
  p.tables.weights.push_back({"e", DType::kQ8_0, {8, 256}});
  const std::vector<std::string> said = cuda::slow_weights(p);
  ASSERT_EQ(said.size(), 1U);
  EXPECT_NE(said[0].find("4 weights"), std::string::npos);
  EXPECT_NE(said[0].find("Q2_K (a, b, c, ...)"), std::string::npos) << said[0];
}

}  // namespace
}  // namespace stretto::test
