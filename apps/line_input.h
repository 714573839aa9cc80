// Lines from a person (edited, with history) or from a pipe.
#pragma once

#include <memory>
#include <string>

namespace stretto::app {

class LineEditor;  // libedit behind it

class LineInput {
 public:
  // `history_file` may be empty. On a terminal lines are edited with libedit; elsewhere they are read as they come.
  explicit LineInput(std::string history_file);
  ~LineInput();
  LineInput(const LineInput&) = delete;
  LineInput& operator=(const LineInput&) = delete;

  bool is_terminal() const { return editor_ != nullptr; }

  enum class Status { kLine, kEnd, kInterrupted };
  // One message: a line; several when a line ends in a backslash or stands between """ marks.
  Status read(const std::string& prompt, std::string& message);

 private:
  Status read_line(const std::string& prompt, std::string& line);
  std::unique_ptr<LineEditor> editor_;  // on a terminal
};

}  // namespace stretto::app
