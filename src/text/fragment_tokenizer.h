// A tokenizer of two parts: special tokens are cut out of a text first, and one RawEncoder gets what lies between them.
#pragma once

#include <functional>
#include <memory>

#include "text/raw_encoder.h"
#include "text/tokenizer.h"

namespace stretto {

// Called once with the table in its final place, which outlives the encoder.
using MakeRawEncoder = std::function<std::unique_ptr<const RawEncoder>(const TokenTable& table)>;

// `table` complete, pieces included. Throws what `make_encoder` throws, and Error(kInvalidModel) as SpecialTokens does.
std::unique_ptr<const Tokenizer> make_fragment_tokenizer(TokenTable table, const MakeRawEncoder& make_encoder);

}  // namespace stretto
