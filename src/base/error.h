// Errors that a person can act on, and the exit codes they end in.
#pragma once

#include <fmt/format.h>

#include <stdexcept>
#include <string>
#include <utility>

namespace stretto {

// The process exit code of each class of failure (documented in README, "Exit codes").
enum class ErrorKind : int {
  kBadArgument = 1,   // a flag, a request field, an id out of range
  kHostMemory = 2,    // the plan or an allocation does not fit in host memory
  kCuda = 3,          // a CUDA call failed
  kNotFound = 4,      // a file or model that is not there
  kInvalidModel = 5,  // a file that breaks its format's rules
  kUnsupported = 6,   // a valid file or option that Stretto does not implement
  kInternal = 7,      // a bug of ours
  kCancelled = 8,     // stopped by the user
  kCapacity = 9,      // the request does not fit into the configured context
};

// Thrown for files, memory and requests only; never by a running step (see base/check.h for our own bugs).
class Error : public std::runtime_error {
 public:
  Error(ErrorKind kind, const std::string& message) : std::runtime_error(message), kind_(kind) {}
  ErrorKind kind() const { return kind_; }
  int exit_code() const { return static_cast<int>(kind_); }

 private:
  ErrorKind kind_;
};

template <class... Args>
[[noreturn]] void fail(ErrorKind kind, fmt::format_string<Args...> text, Args&&... args) {
  throw Error(kind, fmt::format(text, std::forward<Args>(args)...));
}

}  // namespace stretto
