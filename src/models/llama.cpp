// Llama 3.x, and the many models published under the same GGUF architecture (Mistral-Small among them).
// What is different about it: RoPE scaling of 3.1 and later, which GGUF files carry as the tensor rope_freqs; GGUF
// files store q and k rows for interleaved rotary pairs; rope.dimension_count must be the head size.

#include "base/error.h"
#include "models/architectures.h"
#include "models/model_reader.h"

namespace stretto {

DecoderSpec read_llama(ModelReader& reader) {
  DecoderSpec spec = read_decoder_spec(reader);
  spec.gguf_interleaved_pairs = true;
  if (2 * spec.rope->inv_freq.size() != spec.head_dim) {
    fail(ErrorKind::kInvalidModel, "architecture llama: {} rotated dimensions, but heads of {}",
         2 * spec.rope->inv_freq.size(), spec.head_dim);
  }
  // Mixtral-type files state experts here.
  if (reader.find_uint({"expert_count", ""}).value_or(0) != 0)
    fail(ErrorKind::kUnsupported, "architecture llama with experts (Mixtral) is not supported");
  reader.ignore({{"expert_used_count", ""}});
  return spec;
}

}  // namespace stretto
