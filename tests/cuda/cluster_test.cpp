// The persistent stream by clusters, against the graph path.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "checkpoint/fixtures.h"
#include "cuda/cluster_models.h"
#include "cuda/device.h"
#include "cuda/executable.h"
#include "cuda/vain_wait.h"
#include "models/reference_models.h"
#include "oracle/oracle_backend.h"

namespace stretto::test {
namespace {

// More heads than clusters and fewer, groups of one to four query heads, widths that are no power of two, rows of
// activations and of the vocabulary that do not come out even.
const std::vector<ClusterModel>& cluster_models() {
  static const std::vector<ClusterModel> kModels = {{.name = "qwen3"},
                                                    {.name = "few heads",
                                                     .has_norms = false,
                                                     .n_layers = 2,
                                                     .d = 1024,
                                                     .n_heads = 8,
                                                     .n_kv_heads = 2,
                                                     .head_dim = 64,
                                                     .n_ff = 1504,
                                                     .vocab = 1003},
                                                    {.name = "many heads",
                                                     .has_norms = false,
                                                     .n_layers = 4,
                                                     .d = 1536,
                                                     .n_heads = 20,
                                                     .n_kv_heads = 10,
                                                     .head_dim = 64,
                                                     .n_ff = 800,
                                                     .vocab = 130},
                                                    {.name = "one head each",
                                                     .n_layers = 1,
                                                     .d = 2048,
                                                     .n_heads = 9,
                                                     .n_kv_heads = 9,
                                                     .head_dim = 128,
                                                     .n_ff = 256,
                                                     .vocab = 64}};
  return kModels;
}

struct Runner {
  std::unique_ptr<Checkpoint> checkpoint;
  Model model;
  std::unique_ptr<Executable> executable;

  Runner(const std::filesystem::path& path, DecodePath decode, DType kv_type, uint64_t n_ctx)
      : checkpoint(open_checkpoint(path.string())),
        model(load_model(*checkpoint, {.kv_type = kv_type})),
        executable(make_cuda_backend({.decode = decode})
                       ->compile(model.program, {.n_ctx = n_ctx, .max_tokens = 4, .max_outputs = 1})) {}

  cuda::CudaExecutable& device() const { return dynamic_cast<cuda::CudaExecutable&>(*executable); }
  // Whether it is clusters that run.
  cuda::StreamRunner& clusters() const {
    EXPECT_EQ(stream().cluster_problem(), "");
    return stream();
  }
  cuda::StreamRunner& stream() const { return *device().stream_runner(); }
  std::vector<float> step(int32_t id, uint64_t position) const {
    const int32_t output = 0;
    const auto l = executable->run({.tokens = {&id, 1}, .position = position, .outputs = {&output, 1}});
    return {l.begin(), l.end()};
  }
  std::vector<int32_t> tokens(uint64_t n) const {
    std::vector<int32_t> out;
    EXPECT_TRUE(executable->start_greedy(1, 0));
    for (uint64_t i = 0; i < n; ++i) out.push_back(executable->next_token());
    executable->stop_decode();
    return out;
  }
};

// Files of the models, and whether this device has clusters of the size that they need.
class CudaClusters : public ::testing::Test {
 protected:
  void SetUp() override {
    SKIP_WITHOUT_DEVICE();
    write_cluster_model(cluster_models()[0], DType::kF16, file());
    const Runner runner(file(), DecodePath::kAuto, DType::kF16, 16);
    if (runner.device().stream_runner() == nullptr) GTEST_SKIP() << "no persistent stream on this device";
    if (const std::string& why = runner.stream().cluster_problem(); why.find(" on this device") != std::string::npos)
      GTEST_SKIP() << why;
  }
  std::filesystem::path file() const { return dir_ / "model.gguf"; }
  const TempDir dir_;
};

// Positions of one run of the context and of several. Weights of floats are multiplied with floats in both.
TEST_F(CudaClusters, LogitsAreThoseOfTheGraph) {
  constexpr uint64_t kPositions = 300;
  for (const ClusterModel& model : cluster_models())
    for (const DType type : {DType::kF16, DType::kBF16}) {
      write_cluster_model(model, type, file());
      const Runner graph(file(), DecodePath::kGraph, type, kPositions);
      const Runner stream(file(), DecodePath::kStream, type, kPositions);
      ASSERT_EQ(stream.stream().cluster_problem(), "") << model.name;
      double worst = 0;
      for (uint64_t i = 0; i < kPositions; ++i) {
        const auto id = static_cast<int32_t>((i * i + 7 * i) % model.vocab);
        const std::vector<float> got = stream.step(id, i);
        worst = std::max(worst, range_error(got, graph.step(id, i)));
        ASSERT_EQ(stream.step(id, i), got) << model.name << " position " << i << " again";
      }
      std::printf("%-14s %-5s range error %.2e\n", model.name.c_str(), std::string(name(type)).c_str(), worst);
      EXPECT_LE(worst, 1e-3) << model.name << " " << name(type);
    }
}

// Inputs of Q8_0 are rounded to 8 bits, which in these models costs about 1e-2 of the range; where two ways to the same
// sum round differently they are as far from each other as from the truth. So both are compared with that.
TEST_F(CudaClusters, RoundedInputsAreNoWorseThanThoseOfTheGraph) {
  constexpr uint64_t kPositions = 160;
  for (const ClusterModel& model : cluster_models()) {
    write_cluster_model(model, DType::kQ8_0, file());
    const Runner graph(file(), DecodePath::kGraph, DType::kF16, kPositions);
    const Runner stream(file(), DecodePath::kStream, DType::kF16, kPositions);
    ASSERT_EQ(stream.stream().cluster_problem(), "") << model.name;
    const auto truth = make_oracle_backend()->compile(
        graph.model.program, {.n_ctx = kPositions, .max_tokens = kPositions, .max_outputs = kPositions});
    std::vector<int32_t> ids, outputs;
    for (uint64_t i = 0; i < kPositions; ++i) {
      ids.push_back(static_cast<int32_t>((i * i + 7 * i) % model.vocab));
      outputs.push_back(static_cast<int32_t>(i));
    }
    const auto wanted = truth->run({.tokens = ids, .position = 0, .outputs = outputs});
    double of_graph = 0, of_stream = 0;
    for (uint64_t i = 0; i < kPositions; ++i) {
      const std::vector<float> row(wanted.begin() + static_cast<int64_t>(i * model.vocab),
                                   wanted.begin() + static_cast<int64_t>((i + 1) * model.vocab));
      of_graph += range_error(graph.step(ids[i], i), row) / kPositions;
      const std::vector<float> got = stream.step(ids[i], i);
      of_stream += range_error(got, row) / kPositions;
      ASSERT_EQ(stream.step(ids[i], i), got) << model.name << " position " << i << " again";
    }
    std::printf("%-14s mean range error %.2e, of the graph %.2e\n", model.name.c_str(), of_stream, of_graph);
    EXPECT_LE(of_stream, 1.1 * of_graph) << model.name;
    EXPECT_LE(of_stream, 2e-2) << model.name;
  }
}

// The loop's tokens are those of single steps, and of the graph up to a near tie.
TEST_F(CudaClusters, GreedyTokensAreThoseOfTheGraph) {
  constexpr uint64_t kTokens = 200;
  for (const ClusterModel& model : cluster_models()) {
    write_cluster_model(model, DType::kF16, file());
    const Runner graph(file(), DecodePath::kGraph, DType::kF16, kTokens + 1);
    const Runner stream(file(), DecodePath::kStream, DType::kF16, kTokens + 1);
    stream.clusters();
    const auto got = stream.tokens(kTokens), wanted = graph.tokens(kTokens);
    EXPECT_EQ(stream.tokens(kTokens), got) << model.name << " again";
    int32_t id = 1;
    for (uint64_t i = 0; i < kTokens; ++i) {
      const auto l = stream.step(id, i);
      id = static_cast<int32_t>(std::max_element(l.begin(), l.end()) - l.begin());
      ASSERT_EQ(id, got[i]) << model.name << " step " << i;
    }
    const auto apart = std::mismatch(got.begin(), got.end(), wanted.begin());
    if (apart.first == got.end()) continue;
    const auto at = static_cast<uint64_t>(apart.first - got.begin());
    std::vector<float> l;
    for (uint64_t i = 0; i <= at; ++i) l = graph.step(i == 0 ? 1 : wanted[i - 1], i);
    const auto [low, high] = std::minmax_element(l.begin(), l.end());
    EXPECT_LE(std::abs(l[static_cast<size_t>(*apart.first)] - l[static_cast<size_t>(*apart.second)]),
              1e-3 * (*high - *low))
        << model.name << " token " << at;
  }
}

// Neither how far weights are read ahead nor when the host asks for how many tokens changes a bit; tapes that end early
// run without clusters.
TEST_F(CudaClusters, RingsPacesAndLaunchesOfAnySize) {
  const Runner loop(file(), DecodePath::kStream, DType::kF16, 128);
  const auto wanted = loop.tokens(100);
  loop.clusters().set_arrivals(UINT32_MAX - 3000);
  EXPECT_EQ(loop.tokens(100), wanted);
  for (const uint64_t n : {1, 7, 8, 9, 31})
    EXPECT_EQ(loop.tokens(n), std::vector<int32_t>(wanted.begin(), wanted.begin() + static_cast<int64_t>(n)));
  for (const uint32_t ring_bytes : {70'000, 100'000, 140'000})
    for (const uint32_t window_bytes : {1, 70'000, 999'999})
      for (const uint32_t pace : {1, 60, 300}) {
        cuda::Choices choices;
        choices.stream = {.ring_bytes = ring_bytes, .window_bytes = window_bytes, .pace = pace};
        loop.device().choose(choices);
        ASSERT_EQ(loop.stream().cluster_problem(), "");
        EXPECT_EQ(loop.tokens(40), std::vector<int32_t>(wanted.begin(), wanted.begin() + 40))
            << "ring " << ring_bytes << " window " << window_bytes << " pace " << pace;
      }
  cuda::Choices choices;
  choices.stream.n_phases = 3;
  loop.device().choose(choices);
  EXPECT_NE(loop.stream().cluster_problem(), "");
  loop.step(1, 100);
  choices.stream = {.clusters = false};
  loop.device().choose(choices);
  EXPECT_NE(loop.stream().cluster_problem(), "");
  EXPECT_LE(range_error(loop.step(1, 100), (loop.device().choose({}), loop.step(1, 100))), 1e-3);
  EXPECT_EQ(loop.tokens(100), wanted);
}

TEST_F(CudaClusters, WaitsInVainEndInAnErrorThatNamesThePhase) {
  const Runner loop(file(), DecodePath::kStream, DType::kF16, 64);
  const auto wanted = loop.tokens(20);
  const auto expect_error = [&](uint32_t phase) {
    expect_vain_wait(loop.clusters(), "phase " + std::to_string(phase) + " (");
    EXPECT_EQ(loop.tokens(20), wanted);
  };
  for (const uint32_t phase : {0, 1, 2, 3, 4, 5}) {
    loop.stream().withhold_results(phase);
    expect_error(phase + 1);
  }
  loop.stream().withhold_weights();
  expect_error(loop.stream().n_phases() - 1);
}

TEST_F(CudaClusters, ClocksCoverEveryPhase) {
  const Runner loop(file(), DecodePath::kStream, DType::kF16, 64);
  loop.clusters().measure(true);
  loop.tokens(4);
  std::vector<double> ns(loop.stream().n_phases());
  const auto times = loop.stream().times();
  for (size_t i = 0; i < times.size(); ++i)
    ns[i * ns.size() / times.size()] += times[i].input_ns + times[i].work_ns + times[i].rest_ns;
  for (size_t i = 0; i < ns.size(); ++i) EXPECT_GT(ns[i], 0) << i;
}

// What clusters do not do runs as one block per multiprocessor, and says why.
TEST_F(CudaClusters, OtherShapesRunWithoutThem) {
  for (const auto& [name, why] : std::initializer_list<std::pair<const char*, const char*>>{
           {"gguf/llama.q8_0", "vectors of 256"}, {"gguf/llama.q4_k_m", "weights of"}}) {
    const Runner loop(ReferenceCase{name}.model_path(), DecodePath::kStream, DType::kF16, 64);
    EXPECT_NE(loop.stream().cluster_problem().find(why), std::string::npos) << loop.stream().cluster_problem();
    EXPECT_EQ(loop.tokens(10).size(), 10U);
  }
}

}  // namespace
}  // namespace stretto::test
