// A step of the persistent stream that waits for what never comes.
#pragma once

#include <gtest/gtest.h>

#include <cstdio>
#include <string>

#include "base/error.h"
#include "cuda/stream_runner.h"

namespace stretto::test {

// What the error has to say; the runner is whole again behind it.
inline void expect_vain_wait(cuda::StreamRunner& runner, const std::string& wanted) {
  runner.run(nullptr);
  cuda::check_cuda(cudaDeviceSynchronize(), "a step that waits in vain");
  try {
    runner.check();
    ADD_FAILURE() << "no error; wanted: " << wanted;
  } catch (const Error& e) {
    std::printf("%s\n", e.what());
    EXPECT_EQ(e.kind(), ErrorKind::kCuda);
    EXPECT_NE(std::string(e.what()).find("in vain before " + wanted), std::string::npos) << e.what();
  }
  runner.choose({});
}

}  // namespace stretto::test
