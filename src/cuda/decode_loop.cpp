// The loop that chooses tokens on the device: a step is the program and then the choice, whose token the next step
// reads. The largest logit and the sampling chain are a captured step each.
#include "base/error.h"
#include "cuda/executable.h"

namespace stretto::cuda {

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
  if (loop_samples_) sampler_.provide_uniforms(stream_.get(), n_launched_);
  ++n_launched_;
  if (how_.graph) return (loop_samples_ ? sampled_ : greedy_).replay(stream_.get());
  machine_.n_tokens = machine_.n_outputs = 1;
  machine_.values = token_values_.data();
  machine_.queue.n_launches = 0;
  launch_loop_step(loop_samples_);
  n_decode_launches_ = machine_.queue.n_launches - 1;
}

bool CudaExecutable::start_decode(int32_t token, uint64_t position, const TokenChoice& choice) {
  CHECK(position < options_.n_ctx);
  try {
    begin_decode(token, position);
    loop_samples_ = !choice.is_greedy();
    if (loop_samples_) sampler_.begin(stream_.get(), choice, position);
    run_loop_step();
  } catch (const Error& e) {
    stop(e.what());
  }
  return true;
}

}  // namespace stretto::cuda
