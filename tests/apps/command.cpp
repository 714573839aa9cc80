#include "apps/command.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <fstream>

#include <gtest/gtest.h>

namespace stretto::test {
namespace {

using Clock = std::chrono::steady_clock;

struct Pipe {
  int read_end = -1, write_end = -1;
  Pipe() {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) == 0) read_end = ends[0], write_end = ends[1];
  }
};

[[noreturn]] void exec_child(const std::vector<std::string>& arguments, const CommandOptions& o, const Pipe& in,
                             const Pipe& out, const Pipe& err) {
  dup2(in.read_end, 0);
  dup2(out.write_end, 1);
  dup2(err.write_end, 2);
  signal(SIGPIPE, SIG_DFL);
  for (const auto& [name, value] : o.env) setenv(name.c_str(), value.c_str(), 1);
  std::vector<std::string> all = {STRETTO_BINARY_DIR "/apps/stretto"};
  all.insert(all.end(), arguments.begin(), arguments.end());
  std::vector<char*> argv;
  for (std::string& a : all) argv.push_back(a.data());
  argv.push_back(nullptr);
  execv(argv[0], argv.data());
  _exit(126);
}

int ms_since(Clock::time_point t) {
  return static_cast<int>(std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - t).count());
}

// Reads both streams until they end, sending what the options ask for on the way.
class Reader {
 public:
  Reader(pid_t child, const CommandOptions& o, int out, int err) : child_(child), o_(o), fds_{out, err} {}

  void run(CommandResult& result) {
    const Clock::time_point start = Clock::now();
    while (fds_[0] >= 0 || fds_[1] >= 0) {
      pollfd polls[2] = {{fds_[0], POLLIN, 0}, {fds_[1], POLLIN, 0}};
      poll(polls, 2, 10);
      if (polls[0].revents != 0) take(0, result.out);
      if (polls[1].revents != 0) take(1, result.err);
      if (o_.close_stdout_early && !result.out.empty()) close_end(0);
      interrupt_when_due(start, !result.out.empty());
      if (ms_since(start) > o_.timeout_s * 1000) kill(child_, SIGKILL);
    }
  }

 private:
  void take(int i, std::string& into) {
    char buffer[65536];
    const ssize_t n = read(fds_[i], buffer, sizeof buffer);
    if (n <= 0) return close_end(i);
    into.append(buffer, static_cast<size_t>(n));
  }
  void close_end(int i) {
    if (fds_[i] >= 0) close(fds_[i]);
    fds_[i] = -1;
  }
  void interrupt_when_due(Clock::time_point start, bool output_seen) {
    if (o_.interrupt_after_ms == 0 || sent_) return;
    if (o_.wait_for_output && !output_seen) return;
    if (!counting_) counting_ = true, from_ = o_.wait_for_output ? Clock::now() : start;
    if (ms_since(from_) < o_.interrupt_after_ms) return;
    kill(child_, SIGINT);
    sent_ = true;
  }

  pid_t child_;
  const CommandOptions& o_;
  int fds_[2];
  bool sent_ = false, counting_ = false;
  Clock::time_point from_;
};

}  // namespace

CommandResult stretto(const std::vector<std::string>& arguments, const CommandOptions& o) {
  const Pipe in, out, err;
  const pid_t child = fork();
  if (child == 0) exec_child(arguments, o, in, out, err);
  for (const int fd : {in.read_end, out.write_end, err.write_end}) close(fd);
  // Inputs of the tests are smaller than a pipe's buffer.
  const ssize_t written = o.input.empty() ? 0 : write(in.write_end, o.input.data(), o.input.size());
  EXPECT_EQ(written, static_cast<ssize_t>(o.input.size()));
  close(in.write_end);
  CommandResult result;
  Reader(child, o, out.read_end, err.read_end).run(result);
  int status = 0;
  waitpid(child, &status, 0);
  result.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return result;
}

std::string demo_model() { return STRETTO_SOURCE_DIR "/models/stretto-demo.gguf"; }
std::string reference_model(const std::string& n) { return STRETTO_BINARY_DIR "/refs/" + n; }
std::string temporary_file(const std::string& name) {
  return ::testing::TempDir() + "stretto_apps_" + std::to_string(getpid()) + "_" + name;
}
void write_file(const std::string& path, const std::string& content) {
  std::ofstream(path, std::ios::binary) << content;
}

}  // namespace stretto::test
