// The stretto binary on a pseudo-terminal: types keys, waits for what appears.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

namespace stretto::test {

class Pty {
 public:
  explicit Pty(const std::vector<std::string>& arguments,
               const std::vector<std::pair<std::string, std::string>>& env = {});
  ~Pty();
  Pty(const Pty&) = delete;
  Pty& operator=(const Pty&) = delete;

  void type(const std::string& keys);  // "\x03" is Ctrl-C, "\x04" Ctrl-D
  // Waits until `text` has appeared after what was already matched. False after `timeout_s`.
  bool expect(const std::string& text, int timeout_s = 20);
  // Everything that appeared so far.
  const std::string& screen() const { return screen_; }
  // Waits for the end; 128 + signal when killed, -1 when it had to be killed after the timeout.
  int wait(int timeout_s = 20);

 private:
  bool read_some(int timeout_ms);
  int fd_ = -1;
  pid_t child_ = -1;
  std::string screen_;
  size_t matched_ = 0;
};

}  // namespace stretto::test
