// Byte-pair encoding without a list of merges (tiktoken's way): of all adjacent pairs whose joined bytes are a token,
// the one with the lowest rank is merged first.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "text/hf/pattern.h"
#include "text/object_pool.h"
#include "text/piece_cache.h"
#include "text/raw_encoder.h"
#include "text/symbol_merger.h"
#include "text/vocabulary.h"

namespace stretto::hf {

class RankBpe : public RawEncoder {
 public:
  // Tokens first_id .. first_id + n_ranks - 1 have the ranks 0 .. n_ranks - 1 and are spelled in the byte alphabet; all
  // 256 bytes are among them. `pattern` cuts a text into pieces. `vocabulary` must outlive this object.
  RankBpe(const Vocabulary& vocabulary, int32_t first_id, int32_t n_ranks, Pattern pattern);

  // Any bytes; those that are not UTF-8 count as U+FFFD each.
  void encode(std::string_view raw, std::vector<int32_t>& ids, std::vector<std::string>* warnings) const override;

 private:
  struct Scratch {
    std::string valid;
    std::string word;
    std::vector<MatchRange> ranges;
    std::vector<Symbol> symbols;
    SymbolMerger merger;
    PieceCache cache;
  };

  int32_t find(std::string_view word) const;  // -1: no token with a rank
  void encode_piece(std::string_view piece, Scratch& scratch, std::vector<int32_t>& ids) const;

  const Vocabulary& vocabulary_;
  int32_t first_id_;
  int32_t n_ranks_;
  Pattern pattern_;
  std::array<int32_t, 256> byte_ids_;
  mutable ObjectPool<Scratch> scratch_;
};

}  // namespace stretto::hf
