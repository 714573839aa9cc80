// Time bounds of tests: processor time, because the machine may be busy, and wide, because they only tell linear from
// quadratic work.
#pragma once

#include <ctime>

namespace stretto {

#if defined(__has_feature)  // clang's way of saying it
#if __has_feature(address_sanitizer)
#define STRETTO_INSTRUMENTED
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || defined(STRETTO_INSTRUMENTED)
inline constexpr double kSlowdown = 20;  // of instrumented code
#else
inline constexpr double kSlowdown = 1;
#endif

// Of this process so far.
inline double cpu_seconds() { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; }

}  // namespace stretto
