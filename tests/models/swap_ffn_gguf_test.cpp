// From the training code's checkpoints to GGUF, and what the GGUF files then compute.
#include "models/swap_ffn_gguf.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "base/error.h"
#include "checkpoint/gguf_writer.h"
#include "checkpoint/pt_checkpoint.h"
#include "cpu/cpu_backend.h"
#include "models/reference_models.h"
#include "oracle/oracle_backend.h"

namespace stretto::test {
namespace {

class TemporaryGguf {
 public:
  explicit TemporaryGguf(const std::string& name)
      : path_(std::filesystem::path(::testing::TempDir()) / ("stretto_" + std::to_string(getpid()) + "_" + name)) {}
  ~TemporaryGguf() {
    std::error_code ignored;
    std::filesystem::remove(path_, ignored);
  }
  TemporaryGguf(const TemporaryGguf&) = delete;
  TemporaryGguf& operator=(const TemporaryGguf&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

std::vector<float> logits(const Checkpoint& checkpoint, const Backend& backend, const std::vector<int32_t>& tokens) {
  const Model model = load_model(checkpoint, {.kv_type = DType::kF32});
  const CompileOptions limits{.n_ctx = tokens.size(), .max_tokens = 32, .max_outputs = 32};
  const auto executable = backend.compile(model.program, limits);
  Session session(*executable, limits);
  std::vector<float> out;
  session.append_all_logits(
      tokens, 32, [&](uint64_t, std::span<const float> rows) { out.insert(out.end(), rows.begin(), rows.end()); });
  return out;
}

void expect_reference(const Checkpoint& from, const ReferenceCase& reference) {
  const TemporaryGguf file("swap.gguf");
  const GgufSummary summary = write_swap_ffn_gguf(from, file.path());
  EXPECT_EQ(summary.n_bytes, std::filesystem::file_size(file.path()));
  const auto gguf = open_checkpoint(file.path().string());
  EXPECT_EQ(gguf->tensors().size(), summary.n_tensors);
  const Expected expected = read_expected(reference);
  EXPECT_LE(range_error(logits(*gguf, *make_oracle_backend(), expected.tokens), expected.logits), 2e-6);
  EXPECT_LE(range_error(logits(*gguf, *make_cpu_backend({}), expected.tokens), expected.logits), 1e-5);
}

TEST(SwapFfnGguf, FoldersBecomeFilesOfTheSameLogits) {
  for (const char* name : {"hf/swap_ffn_baseline", "hf/swap_ffn_hybrid", "hf/swap_ffn_carried"}) {
    const ReferenceCase c{name};
    SCOPED_TRACE(name);
    expect_reference(*open_checkpoint(c.model_path()), c);
  }
}

TEST(SwapFfnGguf, CheckpointsOfTorchSaveGiveTheReferenceLogits) {
  const std::string folder = std::string(STRETTO_TEST_DATA) + "/pt/";
  expect_reference(*open_pt(folder + "swap_ffn_baseline_full.pt"), {"hf/swap_ffn_baseline"});
  expect_reference(*open_pt(folder + "swap_ffn_hybrid.pt"), {"hf/swap_ffn_hybrid"});
}

TEST(SwapFfnGguf, OtherModelsAreRefused) {
  const TemporaryGguf file("none.gguf");
  for (const char* name : {"hf/qwen3", "gguf/llama.f16"}) {
    const auto from = open_checkpoint(ReferenceCase{name}.model_path());
    try {
      write_swap_ffn_gguf(*from, file.path());
      ADD_FAILURE() << name;
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::kUnsupported) << name;
    }
    EXPECT_FALSE(std::filesystem::exists(file.path()));
  }
}

// The message of loading a hybrid whose metadata is edited; "" when it loads.
std::string edited(const std::string& key, const MetaValue& value) {
  const TemporaryGguf file("edited.gguf");
  write_swap_ffn_gguf(*open_checkpoint(ReferenceCase{"hf/swap_ffn_hybrid"}.model_path()), file.path());
  const auto good = open_checkpoint(file.path().string());
  Metadata m;
  for (const Metadata::Entry& e : good->metadata().entries()) m.add(e.key, e.key == "swapffn." + key ? value : e.value);
  std::vector<GgufTensorPlan> plan;
  for (const StoredTensor& t : good->tensors()) plan.push_back({t.name, t.view.type, t.view.shape});
  const TemporaryGguf changed("changed.gguf");
  GgufWriter writer(changed.path(), m, plan);
  for (const StoredTensor& t : good->tensors()) writer.append(t.view.bytes);
  writer.finish();
  try {
    load_model(*open_checkpoint(changed.path().string()));
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

TEST(SwapFfnGguf, ConfigurationsThatDoNotFitAreRefused) {
  const auto layers = [](std::vector<uint64_t> v) { return MetaValue{MetaType::kArray, MetaType::kU32, std::move(v)}; };
  EXPECT_EQ(edited("swap.layers", layers({1})), "");
  EXPECT_NE(edited("swap.layers", layers({4})).find("beyond the 4 layers"), std::string::npos);
  EXPECT_NE(edited("swap.layers", layers({1, 1})).find("named twice"), std::string::npos);
  EXPECT_NE(edited("swap.layers", layers({2})).find("blk.1.ffn_gate.weight is missing"), std::string::npos);
  EXPECT_NE(edited("swap.layers", layers({})), "");
  for (const char* key : {"swap.n_banks", "swap.n_events", "swap.k_ffn"})
    EXPECT_NE(edited(key, MetaValue::u32(0)).find("at least one of each"), std::string::npos) << key;
  EXPECT_NE(edited("swap.n_banks", MetaValue::u32(5)).find("has shape"), std::string::npos);
  EXPECT_NE(edited("swap.n_events", MetaValue::u32(7)).find("has shape"), std::string::npos);
  EXPECT_NE(edited("swap.n_events", MetaValue::u32(4000000000U)), "");
  EXPECT_NE(edited("swap.use_hard", MetaValue::boolean(false)).find("in training only"), std::string::npos);
}

}  // namespace
}  // namespace stretto::test
