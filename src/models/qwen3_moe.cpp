// Qwen3-MoE.
// What is different about it: Qwen3 with experts in place of every dense FFN: softmax over all, the best top_k,
// renormalised (config.json's norm_topk_prob; GGUF files have no such key and always mean true). No shared expert.

#include "base/error.h"
#include "models/architectures.h"
#include "models/model_reader.h"

namespace stretto {

DecoderSpec read_qwen3_moe(ModelReader& reader) {
  DecoderSpec spec = read_qwen3(reader);
  spec.moe = read_moe_spec(reader, spec);
  if (!reader.is_gguf()) spec.moe.renormalise = reader.find_bool({"", "norm_topk_prob"}).value_or(false);
  if (reader.find_uint({"", "decoder_sparse_step"}).value_or(1) != 1 ||
      !reader.find_uints({"", "mlp_only_layers"}).value_or(std::vector<uint64_t>{}).empty())
    fail(ErrorKind::kUnsupported, "Qwen3-MoE with some dense layers (decoder_sparse_step, mlp_only_layers)");
  return spec;
}

}  // namespace stretto
