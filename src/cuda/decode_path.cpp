// Which of the two executors runs decode steps: the captured graph or the persistent stream.
#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "cuda/executable.h"

namespace stretto::cuda {

void CudaExecutable::open_stream() {
  auto* const words = reinterpret_cast<volatile uint64_t*>(mailbox_.data());
  std::string problem = "it needs compute capability 9.0 or later";
  if (how_.has_stream) {
    runner_ = std::make_unique<StreamRunner>(machine_, reinterpret_cast<volatile uint32_t*>(words + kMailboxSize),
                                             words, kMailboxSize);
    problem = runner_->problem();
  }
  streams_ = problem.empty();
  if (streams_) return;
  runner_.reset();
  if (how_.decode == DecodePath::kStream)
    fail(ErrorKind::kUnsupported, "--decode stream: the persistent stream cannot run this: {}", problem);
  how_.remark(fmt::format("decode: graph (the persistent stream cannot run this: {})", problem));
}

void CudaExecutable::use_stream(bool wanted) {
  CHECK(!wanted || runner_);
  end_loop();
  streams_ = wanted;
}

// The state that this leaves behind lies beyond every later step's begin. The stream has to be faster by more than
// measurements scatter, lest the choice, and with it the last bits of logits, change from load to load.
void CudaExecutable::choose_path() {
  constexpr double kMargin = 0.98;
  if (!streams_) return;
  const int n = static_cast<int>(std::min<uint64_t>(options_.n_ctx / 2, 16));
  streams_ = false;
  if (n < 4) {
    how_.remark("decode: graph (the context is too short to measure the persistent stream)");
    return;
  }
  double us[2] = {0, 0};
  for (const bool stream : {false, true, false, true}) {
    streams_ = stream;
    us[stream ? 1 : 0] = host_us_per_token(0, 0, n);
    end_loop();
  }
  streams_ = us[1] < kMargin * us[0];
  how_.remark(fmt::format("decode: {} (measured: stream {:.0f} us, graph {:.0f} us per token)",
                          streams_ ? "stream" : "graph", us[1], us[0]));
}

// No further token of the decode loop begins.
void CudaExecutable::end_loop() {
  auto* const stop = reinterpret_cast<volatile uint32_t*>(mailbox_.data() + kMailboxSize * sizeof(uint64_t));
  *stop = 1;
  stream_.wait();
  *stop = 0;
  n_launched_ = n_taken_ = 0;
  if (runner_) runner_->check();
}

}  // namespace stretto::cuda
