// CHECK: an always-on assertion for our own bugs. It prints the place and the condition, then aborts.
// For anything a file, a machine or a user can cause, throw stretto::Error instead (base/error.h).
#pragma once

#include <cstdio>
#include <cstdlib>

namespace stretto {

[[noreturn]] inline void check_failed(const char* file, int line, const char* condition) {
  std::fprintf(stderr, "stretto: internal error: %s:%d: CHECK(%s) failed; please report this\n", file, line, condition);
  std::abort();
}

}  // namespace stretto

#define CHECK(condition) \
  (static_cast<bool>(condition) ? void(0) : ::stretto::check_failed(__FILE__, __LINE__, #condition))
