// Builds the program of a pre-norm decoder from its spec: embedding, layers of attention and FFN, norm, head.
#pragma once

#include "models/decoder_spec.h"
#include "models/model_reader.h"

namespace stretto {

// Attention with its norm, projections, cache and residual; returns the new residual stream.
ValueId attention_block(ModelReader& reader, const DecoderSpec& spec, int layer, ValueId x, DType kv_type);

// Gated FFN (dense or experts) with its norm and residual.
ValueId ffn_block(ModelReader& reader, const DecoderSpec& spec, int layer, ValueId x);

// The whole decoder; `kv_type` is the encoding of the cache.
Program build_decoder(ModelReader& reader, const DecoderSpec& spec, DType kv_type);

}  // namespace stretto
