// The command-line contract: what stands on stdout, what on stderr, and the exit codes.

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "apps/command.h"
#include "base/json.h"
#include "checkpoint/safetensors.h"

namespace stretto::test {
namespace {

using Args = std::vector<std::string>;

Args run_demo(Args more) {
  Args all = {"run", demo_model(), "-t", "2"};
  all.insert(all.end(), more.begin(), more.end());
  return all;
}

TEST(Run, AnswersOnStdoutAndRemarksOnStderr) {
  const auto r = stretto(run_demo({"-p", "Once upon a time", "-n", "8", "--temp", "0"}));
  EXPECT_EQ(r.exit_code, 0) << r.err;
  EXPECT_FALSE(r.out.empty());
  EXPECT_EQ(r.out.find("device"), std::string::npos);
  EXPECT_NE(r.err.find("device: cpu"), std::string::npos);
  EXPECT_NE(r.err.find("GB/s"), std::string::npos);
  EXPECT_EQ(r.err.find('\033'), std::string::npos) << "no colours or cursor movement outside a terminal";
}

TEST(Run, QuietLeavesStderrEmpty) {
  const auto r = stretto(run_demo({"-p", "Once", "-n", "4", "--temp", "0", "-q"}));
  EXPECT_EQ(r.exit_code, 0);
  EXPECT_EQ(r.err, "");
}

TEST(Run, JsonHoldsTheContract) {
  const auto r = stretto(run_demo({"-p", "Once upon a time", "-n", "6", "--temp", "0", "--json", "--ignore-eos"}));
  ASSERT_EQ(r.exit_code, 0) << r.err;
  const Json j = parse_json(r.out, "stdout");
  EXPECT_EQ(j.at("tokens").size(), 6U);
  EXPECT_EQ(j.at("finish_reason"), "length");
  EXPECT_GT(j.at("prompt_tokens").get<int>(), 0);
  EXPECT_GT(j.at("timings").at("predicted_per_second").get<double>(), 0);
  const auto plain = stretto(run_demo({"-p", "Once upon a time", "-n", "6", "--temp", "0", "--ignore-eos"}));
  EXPECT_EQ(plain.out, j.at("text").get<std::string>() + "\n");
}

TEST(Run, TokensInGiveTheSameTokensOut) {
  const auto ids = stretto({"tokenize", demo_model(), "-p", "Once upon a time"});
  ASSERT_EQ(ids.exit_code, 0);
  const auto a = stretto(run_demo({"--tokens", ids.out, "-n", "8", "--temp", "0", "--json"}));
  const auto b = stretto(run_demo({"-p", "Once upon a time", "-n", "8", "--temp", "0", "--json"}));
  EXPECT_EQ(parse_json(a.out, "a").at("tokens"), parse_json(b.out, "b").at("tokens"));
}

TEST(Run, ModelWithoutTokenizerPrintsIds) {
  const auto r =
      stretto({"run", reference_model("hf/qwen3"), "--tokens", "1,5,9", "-n", "5", "--temp", "0", "--ignore-eos"});
  ASSERT_EQ(r.exit_code, 0) << r.err;
  EXPECT_EQ(std::count(r.out.begin(), r.out.end(), ','), 4);
  const auto text = stretto({"run", reference_model("gguf/llama.f16.gguf"), "-p", "hello", "-n", "5"});
  EXPECT_EQ(text.exit_code, 6);
  EXPECT_NE(text.err.find("--tokens"), std::string::npos);
}

TEST(Run, SameSeedSameTextOtherSeedOtherText) {
  const auto text = [](const char* seed) {
    return stretto(run_demo({"-p", "Once upon a time", "-n", "40", "--temp", "1", "--seed", seed})).out;
  };
  const std::string seven = text("7");
  EXPECT_EQ(seven, text("7"));
  EXPECT_NE(seven, text("8"));
}

TEST(Run, ChatAnswersWithParis) {
  for (const char* question : {"What is the capital of France?", "what is the capital of france"}) {
    const auto r = stretto(run_demo({"--chat", "-p", question, "--temp", "0", "-n", "40"}));
    EXPECT_EQ(r.exit_code, 0) << r.err;
    EXPECT_NE(r.out.find("Paris"), std::string::npos) << r.out;
  }
}

TEST(Run, PromptFromFileAndPipe) {
  const auto wanted = stretto(run_demo({"-p", "The little dog", "-n", "6", "--temp", "0"}));
  const std::string path = temporary_file("prompt.txt");
  write_file(path, "The little dog");
  EXPECT_EQ(stretto(run_demo({"-f", path, "-n", "6", "--temp", "0"})).out, wanted.out);
  EXPECT_EQ(stretto(run_demo({"-n", "6", "--temp", "0"}), {.input = "The little dog"}).out, wanted.out);
  std::filesystem::remove(path);
}

TEST(Run, StopStringEndsTheText) {
  const auto all = stretto(run_demo({"-p", "Once upon a time", "-n", "40", "--temp", "0"}));
  const std::string stop = all.out.substr(10, 5);
  const auto cut = stretto(run_demo({"-p", "Once upon a time", "-n", "40", "--temp", "0", "--stop", stop, "--json"}));
  const Json j = parse_json(cut.out, "stdout");
  EXPECT_EQ(j.at("text").get<std::string>(), all.out.substr(0, all.out.find(stop)));
  EXPECT_EQ(j.at("finish_reason"), "stop");
}

TEST(Run, BadRequestsAreExplained) {
  const auto empty = stretto(run_demo({"-n", "4"}));
  EXPECT_EQ(empty.exit_code, 1);
  EXPECT_NE(empty.err.find("-p"), std::string::npos);
  EXPECT_EQ(stretto(run_demo({"-p", "", "-n", "4"})).exit_code, 1);
  EXPECT_EQ(stretto(run_demo({"--tokens", "1,x", "-n", "4"})).exit_code, 1);
  EXPECT_EQ(stretto(run_demo({"--tokens", "99999999", "-n", "4"})).exit_code, 1);
  EXPECT_EQ(stretto(run_demo({"-p", "a", "-n", "-7"})).exit_code, 1);
  EXPECT_EQ(stretto(run_demo({"-p", "a", "--device", "abacus"})).exit_code, 1);
  EXPECT_EQ(stretto(run_demo({"-p", "a", "--cache-type", "q1"})).exit_code, 1);
  const auto full = stretto(run_demo({"-p", "a b c d e f g h", "-c", "2"}));
  EXPECT_EQ(full.exit_code, 9);
  EXPECT_NE(full.err.find("context_length_exceeded"), std::string::npos);
}

TEST(Run, UnknownFlagsAndCommandsExitOne) {
  EXPECT_EQ(stretto(run_demo({"--frobnicate"})).exit_code, 1);
  EXPECT_EQ(stretto({"frobnicate"}).exit_code, 1);
  EXPECT_EQ(stretto({}).exit_code, 1);
  const auto nameless = stretto({"run"});
  EXPECT_EQ(nameless.exit_code, 1);
  EXPECT_NE(nameless.err.find("a MODEL is required (stretto run --help)"), std::string::npos) << nameless.err;
  EXPECT_EQ(stretto({"--help"}).exit_code, 0);
  EXPECT_EQ(stretto({"run", "--help"}).exit_code, 0);
  EXPECT_EQ(stretto({"--version"}).exit_code, 0);
}

TEST(Run, WrongPathTruncatedFileAndForeignFile) {
  const auto missing = stretto({"run", "/no/such/model.gguf", "-p", "a"});
  EXPECT_EQ(missing.exit_code, 4);
  EXPECT_NE(missing.err.find("/no/such/model.gguf"), std::string::npos);
  const std::string cut = temporary_file("cut.gguf"), text = temporary_file("text.gguf");
  std::filesystem::copy_file(demo_model(), cut, std::filesystem::copy_options::overwrite_existing);
  std::filesystem::resize_file(cut, 1 << 20);
  write_file(text, "this is not a model");
  const auto truncated = stretto({"run", cut, "-p", "a"}), foreign = stretto({"run", text, "-p", "a"});
  EXPECT_EQ(truncated.exit_code, 5);
  EXPECT_NE(truncated.err.find(cut), std::string::npos);
  EXPECT_EQ(foreign.exit_code, 5);
  EXPECT_EQ(truncated.out + foreign.out, "");
  std::filesystem::remove(cut);
  std::filesystem::remove(text);
}

TEST(Run, AContextThatDoesNotFitIsRefusedWithOneThatDoes) {
  const auto r = stretto(run_demo({"-p", "a", "-c", "2000000000"}));
  EXPECT_EQ(r.exit_code, 2);
  EXPECT_NE(r.err.find("largest context that fits"), std::string::npos) << r.err;
}

TEST(Run, InterruptFlushesAndExits130) {
  const auto r = stretto(run_demo({"-p", "Once upon a time", "-n", "100000", "-c", "100000", "--ignore-eos"}),
                         {.interrupt_after_ms = 200, .wait_for_output = true});
  EXPECT_EQ(r.exit_code, 130);
  EXPECT_FALSE(r.out.empty());
  EXPECT_EQ(r.out.back(), '\n');
}

TEST(Run, AClosedPipeEndsQuietly) {
  const auto r = stretto(run_demo({"-p", "Once upon a time", "-n", "100000", "-c", "100000", "--ignore-eos", "-q"}),
                         {.close_stdout_early = true});
  EXPECT_TRUE(r.exit_code == 141 || r.exit_code == 0) << r.exit_code;
  EXPECT_EQ(r.err, "");
}

TEST(Run, FlagsFromTheEnvironmentComeAfterArguments) {
  CommandOptions o;
  o.env = {{"STRETTO_DEVICE", "oracle"}};
  EXPECT_NE(stretto({"plan", demo_model()}, o).err.find("device: oracle"), std::string::npos);
  EXPECT_NE(stretto({"plan", demo_model(), "--device", "cpu"}, o).err.find("device: cpu"), std::string::npos);
}

TEST(Tokenize, RoundTripAndJson) {
  const std::string text = "Hello, w\xc3\xb6rld! \xe4\xbd\xa0\xe5\xa5\xbd \xf0\x9f\x98\x80\n  12";
  const auto ids = stretto({"tokenize", demo_model(), "-p", text, "--json"});
  ASSERT_EQ(ids.exit_code, 0) << ids.err;
  const Json j = parse_json(ids.out, "stdout");
  std::string list;
  for (const auto& id : j.at("tokens")) list += std::to_string(id.get<int>()) + ",";
  EXPECT_EQ(stretto({"detokenize", demo_model(), "--tokens", list}).out, text);
}

TEST(Tokenize, SpecialTokensOnlyWhenAsked) {
  const Args base = {"tokenize", demo_model(), "-p", "<|im_end|>"};
  Args special = base;
  special.push_back("--parse-special");
  const std::string plain = stretto(base).out, parsed = stretto(special).out;
  EXPECT_NE(plain, parsed);
  EXPECT_EQ(std::count(parsed.begin(), parsed.end(), ','), 0) << parsed;
}

TEST(Tokenize, NeedsExactlyOneSource) {
  EXPECT_EQ(stretto({"tokenize", demo_model()}).exit_code, 1);
  EXPECT_EQ(stretto({"tokenize", demo_model(), "-p", "a", "-f", "b"}).exit_code, 1);
  EXPECT_EQ(stretto({"tokenize", demo_model(), "-f", "/no/such"}).exit_code, 4);
  EXPECT_EQ(stretto({"tokenize", demo_model(), "-f", "-"}, {.input = "abc"}).exit_code, 0);
}

TEST(Logits, WritesTokensAndLogits) {
  const std::string out = temporary_file("logits.safetensors");
  const auto r =
      stretto({"logits", reference_model("hf/llama"), "--tokens",
               std::string("@") + STRETTO_TEST_DATA "/hf_ref/llama.expected.safetensors", "-o", out, "--chunk", "7"});
  ASSERT_EQ(r.exit_code, 0) << r.err;
  EXPECT_EQ(r.out, "");
  const SafetensorsFile file = open_safetensors(out);
  ASSERT_NE(file.find("tokens"), nullptr);
  ASSERT_NE(file.find("logits"), nullptr);
  EXPECT_EQ(file.find("tokens")->view.type, DType::kI32);
  EXPECT_EQ(file.find("tokens")->view.shape, (Shape{160}));
  EXPECT_EQ(file.find("logits")->view.shape, (Shape{160, 512}));
  std::filesystem::remove(out);
}

TEST(Logits, RefusesBadTokensAndPlaces) {
  EXPECT_EQ(stretto({"logits", reference_model("hf/llama"), "--tokens", "", "-o", "x"}).exit_code, 1);
  EXPECT_EQ(stretto({"logits", reference_model("hf/llama"), "--tokens", "@/no/such", "-o", "x"}).exit_code, 4);
  EXPECT_EQ(stretto({"logits", reference_model("hf/llama"), "--tokens", "1,2", "-o", "/no/such/dir/x"}).exit_code, 1);
}

TEST(Plan, ShowsOpsBytesAndMemoryBeforeLoading) {
  const auto r = stretto({"plan", demo_model(), "--bandwidth", "20"});
  ASSERT_EQ(r.exit_code, 0) << r.err;
  for (const char* word : {"qwen3", "NormLinear", "attn_qkv", "phase 1", "ffn_down", "head", "per token",
                           "floor at 20 GB/s", "memory at context"})
    EXPECT_NE(r.out.find(word), std::string::npos) << word;
  const Json j = parse_json(stretto({"plan", demo_model(), "--json", "-c", "512"}).out, "stdout");
  EXPECT_GT(j.at("bytes_per_token").get<uint64_t>(), 8'000'000U);
  EXPECT_LT(j.at("ops_per_token").get<int>(), j.at("ops_per_token_unfused").get<int>());
  EXPECT_EQ(j.at("n_ctx"), 512);
}

TEST(Inspect, ListsMetadataAndTensors) {
  const auto r = stretto({"inspect", demo_model()});
  EXPECT_EQ(r.exit_code, 0);
  EXPECT_NE(r.out.find("general.architecture"), std::string::npos);
  EXPECT_NE(r.out.find("token_embd.weight"), std::string::npos);
  const Json j = parse_json(stretto({"inspect", demo_model(), "--json"}).out, "stdout");
  EXPECT_EQ(j.at("metadata").at("general.architecture"), "qwen3");
  EXPECT_EQ(stretto({"inspect", reference_model("hf/mistral")}).exit_code, 0);
}

TEST(Template, ToolsHaveATemplateOfTheirOwn) {
  namespace fs = std::filesystem;
  const fs::path dir = temporary_file("with_tools");
  fs::create_directories(dir / "additional_chat_templates");
  for (const auto& entry : fs::directory_iterator(reference_model("hf/qwen3")))
    fs::copy_file(entry.path(), dir / entry.path().filename());
  fs::copy_file(STRETTO_TEST_DATA "/tokjson/qwen2/tokenizer.json", dir / "tokenizer.json");
  write_file((dir / "chat_template.jinja").string(), "plain");
  write_file((dir / "additional_chat_templates/tool_use.jinja").string(), "with {{ tools | length }}");
  const std::string messages = (dir / "m.json").string(), tools = (dir / "t.json").string();
  write_file(messages, R"([{"role": "user", "content": "Hi"}])");
  write_file(tools, R"([{"type": "function", "function": {"name": "f"}}])");
  EXPECT_EQ(stretto({"template", dir.string(), "--messages", messages}).out, "plain");
  EXPECT_EQ(stretto({"template", dir.string(), "--messages", messages, "--tools", tools}).out, "with 1");
  fs::remove_all(dir);
}

TEST(Template, RendersAConversation) {
  const std::string path = temporary_file("messages.json");
  write_file(path, R"([{"role": "user", "content": "Hi"}])");
  const auto r = stretto({"template", demo_model(), "--messages", path});
  ASSERT_EQ(r.exit_code, 0) << r.err;
  EXPECT_EQ(r.out, "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n");
  write_file(path, "[{\"role\": ");
  EXPECT_EQ(stretto({"template", demo_model(), "--messages", path}).exit_code, 1);
  std::filesystem::remove(path);
}

}  // namespace
}  // namespace stretto::test
