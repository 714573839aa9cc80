// SentencePiece-style BPE (tokenizer.ggml.model "llama"): of all adjacent pairs whose text is a token, the one with the
// highest score is merged first; characters that are no token become byte tokens.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/object_pool.h"
#include "text/raw_encoder.h"
#include "text/symbol_merger.h"
#include "text/vocabulary.h"

namespace stretto {

class Spm : public RawEncoder {
 public:
  // `scores` has one entry per token. `unknown` stands for bytes that neither are tokens nor have a byte token.
  // `vocabulary` must outlive this object. Throws Error(kInvalidModel) for a score that is not a number.
  Spm(const Vocabulary& vocabulary, const std::vector<double>& scores, bool add_space_prefix,
      std::optional<int32_t> unknown);

  // Any bytes: invalid UTF-8 is kept and ends as byte tokens.
  void encode(std::string_view raw, std::vector<int32_t>& ids, std::vector<std::string>* warnings) const override;

 private:
  struct Scratch {
    std::string escaped;
    std::vector<Symbol> symbols;
    SymbolMerger merger;
  };

  const Vocabulary& vocabulary_;
  std::vector<uint32_t> priorities_;  // [vocabulary.size()], lower = higher score
  bool add_space_prefix_;
  std::array<int32_t, 256> byte_ids_;  // what a byte that is part of no token becomes, -1: nothing
  mutable ObjectPool<Scratch> scratch_;
};

}  // namespace stretto
