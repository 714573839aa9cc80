#include "line_input.h"

#include <histedit.h>
#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <clocale>
#include <cstdio>
#include <cwchar>
#include <filesystem>
#include <iostream>

#include "terminal.h"

namespace stretto::app {
namespace {

constexpr std::string_view kFence = "\"\"\"";
constexpr int kMaxHistory = 1000;

// One character of the terminal for libedit: 1, 0 at the end of input, -1 when Ctrl-C came. It waits on the interrupt's
// descriptor as well: a signal between the prompt and a plain read() would set the flag and leave the read waiting.
int read_character(EditLine*, wchar_t* character) {
  std::mbstate_t shift{};
  for (;;) {
    pollfd waits[2] = {{STDIN_FILENO, POLLIN, 0}, {interrupt_descriptor(), POLLIN, 0}};
    if (poll(waits, 2, -1) < 0 && errno != EINTR) return -1;
    if (interrupted()) {
      errno = EINTR;
      return -1;
    }
    if (waits[0].revents == 0) continue;
    char byte = 0;
    const ssize_t n = read(STDIN_FILENO, &byte, 1);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return static_cast<int>(n);
    const size_t used = std::mbrtowc(character, &byte, 1, &shift);
    if (used == static_cast<size_t>(-2)) continue;  // more bytes of this character follow
    if (used != static_cast<size_t>(-1)) return 1;
    shift = {};  // not UTF-8: dropped
  }
}

}  // namespace

class LineEditor {
 public:
  explicit LineEditor(std::string history_file) : history_file_(std::move(history_file)) {
    // libedit reads characters in the locale's encoding; ours is UTF-8 whatever the environment says.
    if (std::setlocale(LC_CTYPE, "C.UTF-8") == nullptr) std::setlocale(LC_CTYPE, "");
    editor_ = el_init("stretto", stdin, stdout, stderr);
    history_ = history_init();
    HistEvent event;
    history(history_, &event, H_SETSIZE, kMaxHistory);
    history(history_, &event, H_SETUNIQUE, 1);
    if (!history_file_.empty()) history(history_, &event, H_LOAD, history_file_.c_str());
    el_set(editor_, EL_CLIENTDATA, this);
    el_set(editor_, EL_PROMPT, &LineEditor::prompt);
    el_set(editor_, EL_EDITOR, "emacs");
    el_set(editor_, EL_HIST, history, history_);
    el_set(editor_, EL_GETCFN, &read_character);
    el_set(editor_, EL_SIGNAL, 0);
    el_set(editor_, EL_BIND, "^R", "em-inc-search-prev", nullptr);
    for (const char* key : {"\\e[1~", "\\e[H", "\\eOH"}) el_set(editor_, EL_BIND, key, "ed-move-to-beg", nullptr);
    for (const char* key : {"\\e[4~", "\\e[F", "\\eOF"}) el_set(editor_, EL_BIND, key, "ed-move-to-end", nullptr);
    el_set(editor_, EL_BIND, "\\e[3~", "ed-delete-next-char", nullptr);
    el_set(editor_, EL_BIND, "\\e[1;5C", "em-next-word", nullptr);
    el_set(editor_, EL_BIND, "\\e[1;5D", "ed-prev-word", nullptr);
    el_source(editor_, nullptr);  // the person's own ~/.editrc
  }

  ~LineEditor() {
    if (!history_file_.empty()) {
      std::error_code ignored;
      std::filesystem::create_directories(std::filesystem::path(history_file_).parent_path(), ignored);
      HistEvent event;
      history(history_, &event, H_SAVE, history_file_.c_str());
    }
    history_end(history_);
    el_end(editor_);
  }
  LineEditor(const LineEditor&) = delete;
  LineEditor& operator=(const LineEditor&) = delete;

  LineInput::Status read(const std::string& prompt_text, std::string& line) {
    prompt_ = prompt_text;
    el_resize(editor_);  // the window may have changed since the last line
    // libedit would do this only after it has drawn the prompt: a Ctrl-D in between would be lost.
    el_set(editor_, EL_PREP_TERM, 1);
    int n = 0;
    const char* text = el_gets(editor_, &n);
    if (interrupted()) return LineInput::Status::kInterrupted;
    if (text == nullptr || n <= 0) return LineInput::Status::kEnd;
    line.assign(text, static_cast<size_t>(n));
    if (line.ends_with('\n')) line.pop_back();
    return LineInput::Status::kLine;
  }

  void remember(const std::string& message) {
    HistEvent event;
    history(history_, &event, H_ENTER, message.c_str());
  }

 private:
  static char* prompt(EditLine* editor) {
    void* self = nullptr;
    el_get(editor, EL_CLIENTDATA, &self);
    return static_cast<LineEditor*>(self)->prompt_.data();
  }

  std::string history_file_;
  std::string prompt_;
  EditLine* editor_ = nullptr;
  History* history_ = nullptr;
};

LineInput::LineInput(std::string history_file) {
  if (isatty(STDIN_FILENO) != 0) editor_ = std::make_unique<LineEditor>(std::move(history_file));
}

LineInput::~LineInput() = default;

LineInput::Status LineInput::read_line(const std::string& prompt, std::string& line) {
  if (editor_) return editor_->read(prompt, line);
  return std::getline(std::cin, line) ? Status::kLine : interrupted() ? Status::kInterrupted : Status::kEnd;
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
  if (editor_ && !message.empty()) editor_->remember(message);
  return Status::kLine;
}

}  // namespace stretto::app
