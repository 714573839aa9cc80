// Builds the program of a pre-norm decoder from its spec: embedding, layers of attention and FFN, norm, head.
#pragma once

#include "models/decoder_spec.h"
#include "models/model_reader.h"

namespace stretto {

// Attention with its norm, projections, cache and residual; returns the new residual stream.
ValueId attention_block(ModelReader& reader, const DecoderSpec& spec, int layer, ValueId x, DType kv_type);

// Gated FFN (dense or experts) with its norm and residual.
ValueId ffn_block(ModelReader& reader, const DecoderSpec& spec, int layer, ValueId x);

// What records and forces the decisions of all swap layers; both absent unless a test asks.
struct SwapHookIds {
  WeightId forced;
  StateId trace;
};

// The swap module of layer spec.swap.layers[index] with its norm and residual.
ValueId swap_block(ModelReader& reader, const DecoderSpec& spec, uint64_t index, ValueId x, const SwapHookIds& hooks);

// The whole decoder; `kv_type` is the encoding of the cache. Throws Error(kBadArgument) for a recording that does not
// fit the model.
Program build_decoder(ModelReader& reader, const DecoderSpec& spec, DType kv_type, const SwapRecording& recording);

}  // namespace stretto
