// One function per architecture file.
#pragma once

#include <span>

#include "models/decoder_spec.h"
#include "models/tensor_names.h"

namespace stretto {

class ModelReader;

DecoderSpec read_llama(ModelReader& reader);
DecoderSpec read_mistral(ModelReader& reader);
DecoderSpec read_qwen3(ModelReader& reader);
DecoderSpec read_qwen3_moe(ModelReader& reader);
DecoderSpec read_swap_ffn(ModelReader& reader);
std::span<const TensorName> swap_ffn_names();

}  // namespace stretto
