// The version that the program reports.
#pragma once

namespace stretto::app {

inline constexpr const char* kVersion = "0.1.0";

}  // namespace stretto::app
