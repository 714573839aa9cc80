// Qwen3, dense.
// What is different about it: every q and k head passes an RMS norm of its own before RoPE; heads of 128 unless stated;
// sliding_window counts only with use_sliding_window, which no published model sets.

#include "base/error.h"
#include "models/architectures.h"
#include "models/model_reader.h"

namespace stretto {

DecoderSpec read_qwen3(ModelReader& reader) {
  DecoderSpec spec = read_decoder_spec(reader, {.head_dim = 128});
  spec.qk_norm = true;
  reader.expect_bool({"", "use_sliding_window"}, false, "windows on some layers only are not supported");
  spec.window = 0;
  return spec;
}

}  // namespace stretto
