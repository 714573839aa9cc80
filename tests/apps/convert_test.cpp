// stretto convert, and the other commands on what it writes.

#include <gtest/gtest.h>

#include <filesystem>

#include "apps/command.h"

namespace stretto::test {
namespace {

std::string pt(const std::string& name) { return std::string(STRETTO_TEST_DATA) + "/pt/" + name + ".pt"; }

TEST(Convert, CheckpointsOfTorchSaveThatThenRun) {
  const std::string file = temporary_file("hybrid.gguf");
  const auto converted = stretto({"convert", pt("swap_ffn_hybrid"), "-o", file});
  ASSERT_EQ(converted.exit_code, 0) << converted.err;
  EXPECT_NE(converted.err.find("49 tensors"), std::string::npos) << converted.err;
  EXPECT_EQ(converted.out, "");
  const auto inspected = stretto({"inspect", file});
  EXPECT_NE(inspected.out.find("blk.1.swap_router.bias"), std::string::npos);
  const auto planned = stretto({"plan", file, "--device", "cpu"});
  EXPECT_NE(planned.out.find("swap layers 1: 4 banks, 8 events of 2 FFN steps, memory token-local"), std::string::npos);
  EXPECT_NE(planned.out.find("SwapRoute"), std::string::npos);
  const std::vector<std::string> flags{"--tokens", "1,2,3,4", "-n", "6", "--temp", "0", "--device", "cpu", "-q"};
  std::vector<std::string> a{"run", file}, b{"run", reference_model("hf/swap_ffn_hybrid")};
  a.insert(a.end(), flags.begin(), flags.end());
  b.insert(b.end(), flags.begin(), flags.end());
  const auto from_gguf = stretto(a);
  EXPECT_EQ(from_gguf.exit_code, 0) << from_gguf.err;
  EXPECT_EQ(from_gguf.out, stretto(b).out);
  std::filesystem::remove(file);
}

TEST(Convert, WritesAnotherEncodingAndTakesATokenizerAlong) {
  const std::string file = temporary_file("small.gguf"), plain = temporary_file("plain.gguf");
  const std::string demo = std::string(STRETTO_SOURCE_DIR) + "/models/stretto-demo.gguf";
  ASSERT_EQ(stretto({"convert", pt("swap_ffn_hybrid"), "-o", plain}).exit_code, 0);
  for (const char* type : {"q8_0", "Q5_0", "q4_0"}) {
    const auto converted = stretto({"convert", pt("swap_ffn_hybrid"), "-o", file, "--type", type});
    ASSERT_EQ(converted.exit_code, 0) << converted.err;
    EXPECT_LT(std::filesystem::file_size(file), std::filesystem::file_size(plain));
    const auto run = stretto({"run", file, "--tokens", "1,2,3,4", "-n", "2", "--temp", "0", "--device", "cpu", "-q"});
    EXPECT_EQ(run.exit_code, 0) << run.err;
  }
  const auto unknown = stretto({"convert", pt("swap_ffn_hybrid"), "-o", file, "--type", "q5_k"});
  EXPECT_EQ(unknown.exit_code, 1);
  EXPECT_NE(unknown.err.find("q5_0"), std::string::npos) << unknown.err;
  const auto apart = stretto({"convert", pt("swap_ffn_hybrid"), "-o", file, "--vocabulary", demo});
  EXPECT_EQ(apart.exit_code, 1);
  EXPECT_NE(apart.err.find("the vocabulary has 4096 tokens, the model 512"), std::string::npos) << apart.err;
  std::filesystem::remove(file);
  std::filesystem::remove(plain);
}

TEST(Convert, TheTraceOfAHybridIsWrittenInPlaceOfLogits) {
  const std::string file = temporary_file("trace.safetensors");
  const auto traced = stretto({"logits", reference_model("hf/swap_ffn_hybrid"), "--tokens", "300,2,3", "-o", file,
                               "--device", "cpu", "--swap-trace"});
  ASSERT_EQ(traced.exit_code, 0) << traced.err;
  EXPECT_NE(traced.err.find("trace [3, 19]"), std::string::npos) << traced.err;
  const auto none = stretto({"logits", reference_model("hf/swap_ffn_baseline"), "--tokens", "1", "-o", file, "--device",
                             "cpu", "--swap-trace"});
  EXPECT_EQ(none.exit_code, 1) << none.err;
  std::filesystem::remove(file);
}

TEST(Convert, RefusesWithTheReason) {
  const std::string file = temporary_file("none.gguf");
  const auto other = stretto({"convert", reference_model("hf/qwen3"), "-o", file});
  EXPECT_EQ(other.exit_code, 6);
  EXPECT_NE(other.err.find("qwen3"), std::string::npos);
  const auto absent = stretto({"convert", "no-such.pt", "-o", file});
  EXPECT_EQ(absent.exit_code, 4);
  const auto place = stretto({"convert", pt("swap_ffn_hybrid"), "-o", temporary_file("x.bin")});
  EXPECT_EQ(place.exit_code, 1);
  EXPECT_NE(place.err.find(".gguf"), std::string::npos);
  const std::string text = temporary_file("text.pt");
  write_file(text, "not an archive, not a pickle");
  const auto broken = stretto({"convert", text, "-o", file});
  EXPECT_EQ(broken.exit_code, 5);
  EXPECT_FALSE(std::filesystem::exists(file));
  const auto run = stretto({"run", pt("swap_ffn_hybrid"), "--tokens", "1"});
  EXPECT_EQ(run.exit_code, 6);
  EXPECT_NE(run.err.find("stretto convert"), std::string::npos);
}

}  // namespace
}  // namespace stretto::test
