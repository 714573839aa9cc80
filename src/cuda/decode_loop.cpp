// The loop that chooses tokens on the device: a step is the program and then the choice, whose token the next step
// reads. The largest logit and the sampling chain are a captured step each; the persistent stream knows the first.
#include <algorithm>
#include <atomic>

#include "base/error.h"
#include "cuda/executable.h"

namespace stretto::cuda {
namespace {

constexpr uint32_t kTokensPerLaunch = 8;  // of the persistent stream; the restart of its rings costs microseconds

}  // namespace

void CudaExecutable::place_sampler() {
  sampling_ = make_arena(sampler_.sizes(), "sampling");
  Cursor cursor(sampling_.data(), &guards_);
  sampler_.place(cursor);
}

void CudaExecutable::launch_sample() {
  sampler_.launch(machine_.queue, machine_.device,
                  {.logits = machine_.value(program_.logits),
                   .token = machine_.tokens,
                   .state = machine_.state,
                   .mailbox = reinterpret_cast<volatile uint64_t*>(mailbox_.data()),
                   .mailbox_size = kMailboxSize});
}

void CudaExecutable::launch_loop_step(bool sampled) {
  launch_ops();
  sampled ? launch_sample() : launch_choice();
}

// The next step of the loop: its token is on the device, or will be.
void CudaExecutable::run_loop_step() {
  if (streams_ && !loop_samples_) {
    const uint64_t left = options_.n_ctx - loop_position_ - n_launched_;
    const auto n = static_cast<uint32_t>(std::min<uint64_t>(left, kTokensPerLaunch));
    runner_->run_greedy(stream_.get(), n);
    n_launched_ += n;
    n_decode_launches_ = 1;
    return;
  }
  if (loop_samples_) sampler_.provide_uniforms(stream_.get(), n_launched_);
  ++n_launched_;
  if (how_.graph) return (loop_samples_ ? sampled_ : greedy_).replay(stream_.get());
  machine_.n_tokens = machine_.n_outputs = 1;
  machine_.values = token_values_.data();
  machine_.queue.n_launches = 0;
  launch_loop_step(loop_samples_);
  n_decode_launches_ = machine_.queue.n_launches - 1;
}

void CudaExecutable::start_loop(int32_t token, uint64_t position, const TokenChoice& choice) {
  begin_decode(token, position);
  loop_samples_ = !choice.is_greedy();
  if (loop_samples_) sampler_.begin(stream_.get(), choice, position);
  run_loop_step();
}

bool CudaExecutable::start_decode(int32_t token, uint64_t position, const TokenChoice& choice) {
  CHECK(position < options_.n_ctx);
  try {
    if (choice.is_greedy()) choose_path(token, position);
    start_loop(token, position, choice);
  } catch (const Error& e) {
    stop(e.what());
  }
  return true;
}

int32_t CudaExecutable::next_token() {
  CHECK(n_taken_ < n_launched_);
  try {
    // The step behind the one that is waited for, so that the device never waits for the host.
    if (n_launched_ - n_taken_ < 2 && loop_position_ + n_launched_ < options_.n_ctx) run_loop_step();
    const auto* const slot =
        reinterpret_cast<const volatile uint64_t*>(mailbox_.data()) + (n_taken_ + 1) % kMailboxSize;
    for (uint64_t spins = 1; (*slot >> 32) != n_taken_ + 1; ++spins)
      if (spins % (1 << 16) == 0) {
        const cudaError_t status = cudaStreamQuery(stream_.get());
        if (status == cudaErrorNotReady) continue;
        check_cuda(status, "a step of the decode loop");
        if ((*slot >> 32) == n_taken_ + 1) break;
        if (runner_) runner_->check();
        fail(ErrorKind::kCuda, "the device ended a step of the decode loop without a token");
      }
    std::atomic_thread_fence(std::memory_order_acquire);
    ++n_taken_;
    return static_cast<int32_t>(static_cast<uint32_t>(*slot));
  } catch (const Error& e) {
    stop(e.what());
  }
}

void CudaExecutable::stop_decode() {
  try {
    end_loop();
  } catch (const Error& e) {
    stop(e.what());
  }
}

}  // namespace stretto::cuda
