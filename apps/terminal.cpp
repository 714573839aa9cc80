#include "terminal.h"

#include <fmt/format.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <system_error>

#include "base/error.h"

namespace stretto::app {
namespace {

std::atomic<bool> g_interrupted{false};
int g_interrupt_event = -1;
bool g_quiet = false;

struct Progress {
  std::chrono::steady_clock::time_point start;
  std::string what;
  int shown_percent = -1;
  bool drawn = false;  // a half-finished line stands on the terminal
};
Progress g_progress;

void on_interrupt(int) {
  if (g_interrupted.exchange(true)) _exit(130);
  const uint64_t one = 1;
  const int saved = errno;
  [[maybe_unused]] const ssize_t n = write(g_interrupt_event, &one, sizeof one);
  errno = saved;
}

void erase_line() {
  if (g_progress.drawn) std::fputs("\r\033[K", stderr);
  g_progress.drawn = false;
}

}  // namespace

void set_quiet(bool quiet) { g_quiet = quiet; }

void remark(const std::string& line) {
  if (g_quiet) return;
  erase_line();
  std::fprintf(stderr, "%s\n", line.c_str());
}

void progress(std::string_view what, uint64_t done, uint64_t total) {
  if (g_quiet || total == 0) return;
  const auto now = std::chrono::steady_clock::now();
  if (g_progress.what != what) g_progress = {now, std::string(what), -1, false};
  const int percent = static_cast<int>(100.0 * static_cast<double>(done) / static_cast<double>(total));
  if (percent == g_progress.shown_percent) return;
  if (isatty(STDERR_FILENO) != 0) {
    std::fprintf(stderr, "\r\033[K%s %d %%", g_progress.what.c_str(), percent);
    std::fflush(stderr);
    g_progress.drawn = true;
    g_progress.shown_percent = percent;
  } else if (percent / 10 != g_progress.shown_percent / 10 && now - g_progress.start > std::chrono::seconds(2)) {
    std::fprintf(stderr, "%s %d %%\n", g_progress.what.c_str(), percent);
    g_progress.shown_percent = percent;
  }
  if (done == total) end_progress();
}

void end_progress() {
  erase_line();
  g_progress.what.clear();
}

EngineLog engine_log() { return {.line = remark, .progress = progress}; }

const std::atomic<bool>& interrupted() { return g_interrupted; }

void clear_interrupt() {
  uint64_t count = 0;
  [[maybe_unused]] const ssize_t n = read(g_interrupt_event, &count, sizeof count);
  g_interrupted = false;
}

int interrupt_descriptor() { return g_interrupt_event; }

void install_interrupt_handler() {
  if (g_interrupt_event < 0) g_interrupt_event = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  if (g_interrupt_event < 0)
    fail(ErrorKind::kInternal, "eventfd for Ctrl-C: {}", std::generic_category().message(errno));
  struct sigaction action {};
  action.sa_handler = on_interrupt;
  sigaction(SIGINT, &action, nullptr);
}

void print_out(std::string_view text) {
  erase_line();
  while (!text.empty()) {
    const ssize_t n = write(STDOUT_FILENO, text.data(), text.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0)
      fail(ErrorKind::kBadArgument, "cannot write to standard output: {}", std::generic_category().message(errno));
    text.remove_prefix(static_cast<size_t>(n));
  }
}

}  // namespace stretto::app
