// Mistral-Small 3.x (GGUF architecture mistral3; Hugging Face mistral, also below text_config) and Ministral 3.
// What is different about it: head_dim need not be d_model / n_heads; 8 key/value heads unless stated; a sliding window
// holds for every layer, 4096 when config.json has no such key (null: none); Ministral scales queries with position.

#include "models/architectures.h"
#include "models/model_reader.h"

namespace stretto {

DecoderSpec read_mistral(ModelReader& reader) {
  DecoderSpec spec = read_decoder_spec(reader, {.head_dim = 0, .n_kv_heads = 8});
  spec.gguf_interleaved_pairs = true;
  if (!reader.is_gguf() && !reader.states({"", "sliding_window"})) spec.window = 4096;
  return spec;
}

}  // namespace stretto
