// Runs the stretto binary as a person or a script would.
#pragma once

#include <functional>
#include <string>
#include <vector>

namespace stretto::test {

struct CommandResult {
  int exit_code = -1;  // 128 + signal when it was killed
  std::string out, err;
};

struct CommandOptions {
  std::string input = {};                                     // standard input, then end of file
  std::vector<std::pair<std::string, std::string>> env = {};  // set in addition
  bool close_stdout_early = false;                            // the reader goes away after the first bytes
  int interrupt_after_ms = 0;                                 // send SIGINT once
  bool wait_for_output = false;                               // ... counted from the first byte on stdout
  int timeout_s = 60;
};

CommandResult stretto(const std::vector<std::string>& arguments, const CommandOptions& options = {});

// Paths of models that the tests use.
std::string demo_model();                           // models/stretto-demo.gguf
std::string reference_model(const std::string& n);  // "hf/qwen3", "gguf/llama.q8_0.gguf"
std::string temporary_file(const std::string& name);
void write_file(const std::string& path, const std::string& content);

}  // namespace stretto::test
