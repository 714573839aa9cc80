// Which of the two executors runs decode steps: the captured graph or the persistent stream.
#include <fmt/format.h>

#include <algorithm>
#include <bit>

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
  streams_ = how_.decode == DecodePath::kStream;
  if (problem.empty()) {
    if (runner_->has_clusters()) {
      how_.remark(
          fmt::format("decode: the stream runs by clusters of blocks ({} MB of weights once more, in their order)",
                      runner_->cluster_bytes() / 1'000'000));
    } else if (streams_) {
      how_.remark(fmt::format("decode: stream, a block per multiprocessor (clusters: {})", runner_->cluster_problem()));
    }
    return;
  }
  streams_ = false;
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

namespace {

// The choice is made anew where the position has doubled, from here on: what a step reads of its cache grows with it.
constexpr uint64_t kFirstDepth = 2048;
constexpr int kMeasuredTokens = 16, kLeastTokens = 4;

}  // namespace

// Both paths for a greedy loop that begins with this token at this position. What they leave behind lies where the loop
// will write before it reads. The stream has to be faster by more than measurements scatter, lest the choice, and with
// it the last bits of logits, change from run to run.
bool CudaExecutable::measures_faster_stream(int32_t token, uint64_t position, int n_tokens) {
  constexpr double kMargin = 0.98;
  double us[2] = {0, 0};
  for (const bool stream : {false, true, false, true}) {
    streams_ = stream;
    us[stream ? 1 : 0] = host_us_per_token(token, position, n_tokens);
    end_loop();
  }
  const bool is_faster = us[1] < kMargin * us[0];
  how_.remark(fmt::format("decode: {} (measured from position {}: stream {}{:.0f} us, graph {:.0f} us per token)",
                          is_faster ? "stream" : "graph", position, runner_->has_clusters() ? "by clusters " : "",
                          us[1], us[0]));
  return is_faster;
}

// The path of greedy loops from this position on, where it is ours to choose.
void CudaExecutable::choose_path(int32_t token, uint64_t position) {
  if (how_.decode != DecodePath::kAuto || !runner_) return;
  std::optional<bool>& chosen = streams_at_[std::bit_width(position / kFirstDepth)];
  if (!chosen) {
    const auto n = static_cast<int>(std::min<uint64_t>(options_.n_ctx - position, kMeasuredTokens));
    if (n >= kLeastTokens) {
      chosen = measures_faster_stream(token, position, n);
    } else if (std::ranges::none_of(streams_at_, [](const auto& c) { return c.has_value(); })) {
      how_.remark("decode: graph (too little context is left to measure the persistent stream)");
      chosen = false;
    }
  }
  if (chosen) streams_ = *chosen;
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
