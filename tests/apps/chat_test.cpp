// Conversations through a pseudo-terminal and through a pipe.

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "apps/command.h"
#include "apps/pty.h"
#include "base/json.h"

namespace stretto::test {
namespace {

using Args = std::vector<std::string>;

Args chat(Args more = {}) {
  Args all = {"chat", demo_model(), "--temp", "0", "-t", "2"};
  all.insert(all.end(), more.begin(), more.end());
  return all;
}
// The history must not end in the home directory of whoever runs the tests.
std::vector<std::pair<std::string, std::string>> own_state() { return {{"XDG_STATE_HOME", temporary_file("state")}}; }
CommandResult chat_pipe(const std::string& input, Args more = {}) {
  CommandOptions o;
  o.input = input;
  return stretto(chat(std::move(more)), o);
}

TEST(ChatPipe, OneMessagePerLineAndNoPromptMarks) {
  const auto r = chat_pipe("What is the capital of France?\nWhat is the capital of Japan?\n", {"-n", "40"});
  EXPECT_EQ(r.exit_code, 0) << r.err;
  EXPECT_NE(r.out.find("Paris"), std::string::npos);
  EXPECT_NE(r.out.find("Tokyo"), std::string::npos);
  EXPECT_EQ(r.out.find('>'), std::string::npos);
  EXPECT_EQ(r.out.find('\033'), std::string::npos);
}

TEST(ChatPipe, EmptyInputEndsAtOnce) {
  const auto r = chat_pipe("");
  EXPECT_EQ(r.exit_code, 0);
  EXPECT_EQ(r.out, "");
}

TEST(ChatPipe, KeepsThePrefixOfTheConversation) {
  const auto r = chat_pipe("What is the capital of France?\nWhat is the capital of Japan?\n", {"-n", "40"});
  EXPECT_NE(r.err.find("[0 cached"), std::string::npos);
  EXPECT_EQ(r.err.find("[0 cached", r.err.find("[0 cached") + 1), std::string::npos) << r.err;
}

TEST(ChatPipe, MultiLineMessages) {
  const auto fence = chat_pipe("\"\"\"What is the capital\nof France?\"\"\"\n/stats\n", {"-n", "40"});
  EXPECT_NE(fence.err.find("2 messages"), std::string::npos) << fence.err;
  const auto slash = chat_pipe("What is the capital\\\nof France?\n/stats\n", {"-n", "40"});
  EXPECT_NE(slash.err.find("2 messages"), std::string::npos) << slash.err;
}

TEST(ChatPipe, ClearUndoRegenAndSystem) {
  const auto r = chat_pipe("Hello\n/undo\n/stats\nHello\n/regen\n/stats\n/system Be brief.\n/stats\n/clear\n/stats\n",
                           {"-n", "8"});
  EXPECT_EQ(r.exit_code, 0) << r.err;
  const size_t none = r.err.find("0 messages"), two = r.err.find("2 messages"), three = r.err.find("3 messages");
  const size_t one = r.err.find("1 messages");
  ASSERT_NE(none, std::string::npos);
  ASSERT_NE(one, std::string::npos);
  EXPECT_LT(none, two);
  EXPECT_LT(two, three);
  EXPECT_LT(three, one);
}

TEST(ChatPipe, SaveAndLoad) {
  const std::string path = temporary_file("chat.json");
  EXPECT_EQ(chat_pipe("What is the capital of France?\n/save " + path + "\n", {"-n", "40"}).exit_code, 0);
  std::ifstream in(path);
  const std::string text{std::istreambuf_iterator<char>(in), {}};
  const Json saved = parse_json(text, path);
  ASSERT_EQ(saved.size(), 2U);
  EXPECT_EQ(saved[0].at("role"), "user");
  const auto r = chat_pipe("/load " + path + "\n/stats\n");
  EXPECT_NE(r.err.find("2 messages loaded"), std::string::npos);
  std::filesystem::remove(path);
}

TEST(ChatPipe, ErrorsStopAScript) {
  EXPECT_EQ(chat_pipe("/frobnicate\nHello\n").exit_code, 1);
  EXPECT_EQ(chat_pipe("/load /no/such/file\n").exit_code, 4);
  EXPECT_EQ(chat_pipe("/regen\n").exit_code, 1);
  const auto full = chat_pipe("one two three four five six seven eight nine ten\n", {"-c", "8"});
  EXPECT_EQ(full.exit_code, 9);
  EXPECT_NE(full.err.find("context_length_exceeded"), std::string::npos);
}

TEST(ChatPipe, FirstMessageAndSingleTurn) {
  const auto r = chat_pipe("never read\n", {"-p", "What is the capital of France?", "--single-turn", "-n", "40"});
  EXPECT_EQ(r.exit_code, 0);
  EXPECT_NE(r.out.find("Paris"), std::string::npos);
}

TEST(ChatPipe, ModelsWithoutTemplateOrTokenizerAreRefused) {
  EXPECT_EQ(stretto({"chat", reference_model("gguf/llama.f16.gguf")}).exit_code, 6);
  EXPECT_EQ(stretto({"chat", reference_model("hf/qwen3")}).exit_code, 6);
}

TEST(ChatTerminal, AsksAnswersAndLeavesWithExit) {
  Pty p(chat({"-n", "40"}), own_state());
  ASSERT_TRUE(p.expect("> ")) << p.screen();
  p.type("What is the capital of France?\n");
  EXPECT_TRUE(p.expect("Paris")) << p.screen();
  ASSERT_TRUE(p.expect("> "));
  p.type("/exit\n");
  EXPECT_EQ(p.wait(), 0);
}

TEST(ChatTerminal, EndOfInputLeaves) {
  Pty p(chat(), own_state());
  ASSERT_TRUE(p.expect("> "));
  p.type("\x04");
  EXPECT_EQ(p.wait(), 0);
}

TEST(ChatTerminal, ErrorsDoNotEndTheConversation) {
  Pty p(chat({"-n", "40"}), own_state());
  ASSERT_TRUE(p.expect("> "));
  p.type("/frobnicate\n");
  EXPECT_TRUE(p.expect("/help lists them")) << p.screen();
  p.type("What is the capital of Japan?\n");
  EXPECT_TRUE(p.expect("Tokyo")) << p.screen();
}

TEST(ChatTerminal, FirstInterruptStopsTheAnswerSecondLeaves) {
  Pty p(chat({"-n", "-1", "-c", "1000", "--ignore-eos"}), own_state());
  ASSERT_TRUE(p.expect("> "));
  p.type("Tell me a long story about a dragon.\n");
  ASSERT_TRUE(p.expect(" the ")) << p.screen();
  p.type("\x03");
  EXPECT_TRUE(p.expect("stopped]")) << p.screen();
  ASSERT_TRUE(p.expect("> "));
  p.type("\x03");
  EXPECT_TRUE(p.expect("again")) << p.screen();
  p.type("\x03");
  EXPECT_EQ(p.wait(), 130) << p.screen();
}

TEST(ChatTerminal, EditsWholeCharacters) {
  Pty p(chat(), own_state());
  ASSERT_TRUE(p.expect("> "));
  p.type("/frob\u00e9\x7f\u65e5\x7fz\n");
  EXPECT_TRUE(p.expect("unknown command /frobz (")) << p.screen();
}

TEST(ChatTerminal, HistoryComesBack) {
  const auto state = own_state();
  {
    Pty p(chat({"-n", "4"}), state);
    ASSERT_TRUE(p.expect("> "));
    p.type("/stats\n");
    ASSERT_TRUE(p.expect("messages"));
    p.type("/exit\n");
    EXPECT_EQ(p.wait(), 0);
  }
  Pty p(chat({"-n", "4"}), state);
  ASSERT_TRUE(p.expect("> "));
  p.type("\033[A\033[A");  // two up: /exit, then /stats
  EXPECT_TRUE(p.expect("/stats")) << p.screen();
  std::filesystem::remove_all(state.front().second);
}

TEST(RunTerminal, ProgressIsDrawnOnlyThere) {
  Pty p({"run", demo_model(), "-p", "Once upon a time", "-n", "5", "--temp", "0"});
  EXPECT_EQ(p.wait(), 0);
  EXPECT_NE(p.screen().find("tokens generated"), std::string::npos);
}

TEST(RunTerminal, NoColour) {
  for (const char* name : {"NO_COLOR", "UNRELATED"}) {
    Pty p({"doctor"}, {{name, "1"}});
    EXPECT_EQ(p.wait(60), 0);
    EXPECT_EQ(p.screen().find("\033[3"), std::string::npos);
  }
}

TEST(RunTerminal, NoPromptIsAnErrorNotAHang) {
  Pty p({"run", demo_model()});
  EXPECT_EQ(p.wait(), 1);
  EXPECT_NE(p.screen().find("no prompt"), std::string::npos);
}

TEST(RunTerminal, InterruptExits130) {
  Pty p({"run", demo_model(), "-p", "Once upon a time", "-n", "100000", "-c", "100000", "--ignore-eos"});
  ASSERT_TRUE(p.expect(" the "));
  p.type("\x03");
  EXPECT_EQ(p.wait(), 130);
}

}  // namespace
}  // namespace stretto::test
