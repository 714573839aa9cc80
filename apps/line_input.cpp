#include "line_input.h"

#include <editline/readline.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <iostream>

#include "terminal.h"

namespace stretto::app {
namespace {

constexpr std::string_view kFence = "\"\"\"";
constexpr int kMaxHistory = 1000;

}  // namespace

LineInput::LineInput(std::string history_file)
    : history_file_(std::move(history_file)), terminal_(isatty(STDIN_FILENO) != 0) {
  if (!terminal_) return;
  rl_initialize();
  if (!history_file_.empty()) read_history(history_file_.c_str());
}

LineInput::~LineInput() {
  if (!terminal_ || history_file_.empty()) return;
  std::error_code ignored;
  std::filesystem::create_directories(std::filesystem::path(history_file_).parent_path(), ignored);
  stifle_history(kMaxHistory);
  write_history(history_file_.c_str());
}

LineInput::Status LineInput::read_line(const std::string& prompt, std::string& line) {
  if (!terminal_)
    return std::getline(std::cin, line) ? Status::kLine : interrupted() ? Status::kInterrupted : Status::kEnd;
  char* text = readline(prompt.c_str());
  if (text == nullptr) return interrupted() ? Status::kInterrupted : Status::kEnd;
  line = text;
  std::free(text);
  return interrupted() ? Status::kInterrupted : Status::kLine;
}

LineInput::Status LineInput::read(const std::string& prompt, std::string& message) {
  message.clear();
  std::string line;
  Status status = read_line(prompt, line);
  if (status != Status::kLine) return status;
  if (line.starts_with(kFence)) {
    line.erase(0, kFence.size());
    while (!line.ends_with(kFence)) {
      message += line + "\n";
      status = read_line("... ", line);
      if (status != Status::kLine) return status;
    }
    message += line.substr(0, line.size() - kFence.size());
  } else {
    while (line.ends_with("\\")) {
      message += line.substr(0, line.size() - 1) + "\n";
      status = read_line("... ", line);
      if (status != Status::kLine) return status;
    }
    message += line;
  }
  if (terminal_ && !message.empty()) add_history(message.c_str());
  return Status::kLine;
}

}  // namespace stretto::app
