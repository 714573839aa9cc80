#include "apps/pty.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>

namespace stretto::test {
namespace {

using Clock = std::chrono::steady_clock;

bool before(Clock::time_point start, int seconds) { return Clock::now() - start < std::chrono::seconds(seconds); }

}  // namespace

Pty::Pty(const std::vector<std::string>& arguments, const std::vector<std::pair<std::string, std::string>>& env) {
  winsize size{24, 100, 0, 0};
  child_ = forkpty(&fd_, nullptr, nullptr, &size);
  if (child_ != 0) return;
  setenv("TERM", "xterm", 1);
  for (const auto& [name, value] : env) setenv(name.c_str(), value.c_str(), 1);
  std::vector<std::string> all = {STRETTO_BINARY_DIR "/apps/stretto"};
  all.insert(all.end(), arguments.begin(), arguments.end());
  std::vector<char*> argv;
  for (std::string& a : all) argv.push_back(a.data());
  argv.push_back(nullptr);
  execv(argv[0], argv.data());
  _exit(126);
}

Pty::~Pty() {
  if (child_ > 0) {
    kill(child_, SIGKILL);
    waitpid(child_, nullptr, 0);
  }
  if (fd_ >= 0) close(fd_);
}

void Pty::type(const std::string& keys) {
  EXPECT_EQ(write(fd_, keys.data(), keys.size()), static_cast<ssize_t>(keys.size()));
}

bool Pty::read_some(int timeout_ms) {
  pollfd p{fd_, POLLIN, 0};
  if (poll(&p, 1, timeout_ms) <= 0) return true;
  char buffer[4096];
  const ssize_t n = read(fd_, buffer, sizeof buffer);
  if (n <= 0) return false;
  screen_.append(buffer, static_cast<size_t>(n));
  return true;
}

bool Pty::expect(const std::string& text, int timeout_s) {
  const Clock::time_point start = Clock::now();
  while (true) {
    const size_t at = screen_.find(text, matched_);
    if (at != std::string::npos) {
      matched_ = at + text.size();
      return true;
    }
    if (!before(start, timeout_s) || !read_some(50)) return screen_.find(text, matched_) != std::string::npos;
  }
}

int Pty::wait(int timeout_s) {
  const Clock::time_point start = Clock::now();
  int status = 0;
  while (waitpid(child_, &status, WNOHANG) == 0) {
    if (!before(start, timeout_s)) return -1;
    read_some(20);
  }
  while (read_some(0) && poll(nullptr, 0, 0) == 0 && before(start, timeout_s)) {
    pollfd p{fd_, POLLIN, 0};
    if (poll(&p, 1, 20) <= 0) break;
  }
  child_ = -1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

}  // namespace stretto::test
