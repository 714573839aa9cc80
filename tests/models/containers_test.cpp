// The same model through both loaders, and models that are refused.

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "base/error.h"
#include "cpu/cpu_backend.h"
#include "engine/engine.h"
#include "models/gguf_of_hf.h"
#include "models/reference_models.h"
#include "oracle/oracle_backend.h"

namespace stretto::test {
namespace {

struct Pair {
  const char* hf;
  const char* architecture;
};

// Tests run side by side, each in a process of its own.
std::filesystem::path temporary(const std::string& name) {
  return std::filesystem::path(::testing::TempDir()) / ("stretto_" + std::to_string(getpid()) + "_" + name + ".gguf");
}

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

class Containers : public ::testing::TestWithParam<Pair> {};

TEST_P(Containers, GgufAndSafetensorsGiveTheSameLogits) {
  const ReferenceCase c{std::string("hf/") + GetParam().hf};
  const auto hf = open_checkpoint(c.model_path());
  const auto path = temporary(GetParam().hf);
  write_gguf_of_hf(*hf, GetParam().architecture, path);
  const auto gguf = open_checkpoint(path.string());
  const auto tokens = read_expected(c).tokens;
  for (const auto& backend : {make_oracle_backend(), make_cpu_backend({})}) {
    const auto a = logits(*hf, *backend, tokens), b = logits(*gguf, *backend, tokens);
    // rope_freqs and the float keys are float32 in GGUF; everything else is the same bits.
    EXPECT_LE(range_error(a, b), 2e-6) << backend->name();
  }
  std::filesystem::remove(path);
}

INSTANTIATE_TEST_SUITE_P(Pairs, Containers,
                         ::testing::Values(Pair{"llama", "llama"}, Pair{"mistral", "mistral3"},
                                           Pair{"mistral", "llama"}, Pair{"qwen3", "qwen3"},
                                           Pair{"qwen3_moe", "qwen3moe"}),
                         [](const auto& info) {
                           return std::string(info.param.hf) + "_as_" + info.param.architecture;
                         });

// The message of loading an edited qwen3, or "" when it loads.
std::string load_error(const GgufEdit& edit, Strictness strictness = Strictness::kStrict,
                       const std::string& architecture = "qwen3") {
  const auto hf = open_checkpoint(ReferenceCase{"hf/qwen3"}.model_path());
  const auto path = temporary("edited");
  write_gguf_of_hf(*hf, architecture, path, edit);
  std::string message;
  try {
    const auto gguf = open_checkpoint(path.string());
    const Model model = load_model(*gguf, {.strictness = strictness});
    for (const std::string& w : model.warnings) message += w;
  } catch (const Error& e) {
    message = e.what();
  }
  std::filesystem::remove(path);
  return message;
}

GgufEdit with_key(const std::string& key, MetaValue value) {
  return {.metadata = [=](Metadata& m) { m.add(key, value); }};
}
GgufEdit renaming(const std::string& from, const std::string& to) {
  return {.metadata = [](Metadata&) {}, .rename = [=](const std::string& n) { return n == from ? to : n; }};
}

TEST(Refused, NothingWhenUnedited) { EXPECT_EQ(load_error({}), ""); }

TEST(Refused, UnknownKeysAndUnusedTensorsByName) {
  const GgufEdit unknown = with_key("qwen3.attention.shiny", MetaValue::u32(3));
  EXPECT_NE(load_error(unknown).find("qwen3.attention.shiny"), std::string::npos);
  EXPECT_NE(load_error(unknown).find("--lenient"), std::string::npos);
  EXPECT_NE(load_error(unknown, Strictness::kLenient).find("qwen3.attention.shiny"), std::string::npos);
  EXPECT_NE(load_error(renaming("blk.3.ffn_up.weight", "blk.3.ffn_upp.weight")).find("blk.3.ffn_up.weight"),
            std::string::npos);
  EXPECT_NE(load_error(with_key("qwen3.block_count.extra", MetaValue::u32(1))), "");
}

TEST(Refused, MissingTensorByName) {
  for (const char* name : {"token_embd.weight", "output_norm.weight", "blk.0.attn_q.weight", "blk.2.attn_k_norm.weight",
                           "blk.3.ffn_down.weight"})
    EXPECT_NE(load_error(renaming(name, "")).find(std::string(name).substr(0, 10)), std::string::npos) << name;
}

TEST(Refused, UnknownArchitectureListsTheKnownOnes) {
  const std::string text = load_error({}, Strictness::kStrict, "gpt9");
  EXPECT_NE(text.find("gpt9"), std::string::npos);
  EXPECT_NE(text.find("qwen3moe"), std::string::npos);
}

// Values that contradict the tensors or each other: each must name its key or tensor, none may crash.
class BadNumber : public ::testing::TestWithParam<std::pair<const char*, uint32_t>> {};
TEST_P(BadNumber, IsRefused) {
  const auto [key, value] = GetParam();
  const auto hf = open_checkpoint(ReferenceCase{"hf/qwen3"}.model_path());
  const auto path = temporary("number");
  GgufEdit edit;
  edit.metadata = [&key = key, &value = value](Metadata& m) {
    Metadata changed;
    for (const auto& e : m.entries())
      changed.add(e.key, e.key == std::string("qwen3.") + key ? MetaValue::u32(value) : e.value);
    m = changed;
  };
  write_gguf_of_hf(*hf, "qwen3", path, edit);
  const auto gguf = open_checkpoint(path.string());
  try {
    load_model(*gguf);
    ADD_FAILURE() << key << " = " << value << " was accepted";
  } catch (const Error& e) {
    EXPECT_GT(std::string(e.what()).size(), 20U);
  }
  std::filesystem::remove(path);
}
INSTANTIATE_TEST_SUITE_P(
    Keys, BadNumber,
    ::testing::Values(std::pair{"block_count", 0U}, std::pair{"block_count", 5U}, std::pair{"block_count", 4000000000U},
                      std::pair{"embedding_length", 64U}, std::pair{"attention.head_count", 0U},
                      std::pair{"attention.head_count", 7U}, std::pair{"attention.head_count_kv", 0U},
                      std::pair{"attention.head_count_kv", 3U}, std::pair{"attention.key_length", 0U},
                      std::pair{"attention.key_length", 15U}, std::pair{"rope.dimension_count", 18U},
                      std::pair{"rope.dimension_count", 0U}, std::pair{"vocab_size", 511U},
                      std::pair{"feed_forward_length", 255U}));

}  // namespace
}  // namespace stretto::test
