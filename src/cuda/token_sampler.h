// The memory of the device's sampling chain (cuda/sample.h) and the host's side of a loop over it.
#pragma once

#include <array>
#include <random>

#include "cuda/memory.h"
#include "cuda/sample.h"

namespace stretto::cuda {

class TokenSampler {
 public:
  TokenSampler(uint32_t vocab_size, uint64_t n_ctx);

  // Device memory that it needs, piece by piece; zeros.
  std::array<uint64_t, 10> sizes() const;
  void place(Cursor& cursor);

  // A loop begins at `position`. The stream has nothing to do. Puts copies into it; allocates nothing.
  void begin(cudaStream_t stream, const TokenChoice& choice, uint64_t position);
  // Before step `step` (from 0) of the loop is launched: now and then copies random numbers, drawn ahead. (Blocks that
  // read host memory themselves wait for a microsecond each, one after the other.)
  void provide_uniforms(cudaStream_t stream, uint64_t step);
  // `out` has logits and what the token goes to, of SampleParams; the rest is filled in.
  void launch(Queue& queue, const DeviceShape& device, SampleParams out) const;

 private:
  void stage_bias(cudaStream_t stream, const TokenChoice& choice);
  uint32_t stage_window(cudaStream_t stream, const TokenChoice& choice);

  uint32_t vocab_size_ = 0;
  uint64_t max_history_ = 0;
  SampleParams params_;
  PinnedBuffer settings_, bias_, counts_, history_, uniforms_;
  std::mt19937_64 random_;
};

}  // namespace stretto::cuda
