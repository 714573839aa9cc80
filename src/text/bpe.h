// Byte-pair encoding: the merge table and the two ways vocabularies spell their symbols.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "text/flat_map.h"
#include "text/object_pool.h"
#include "text/piece_cache.h"
#include "text/pretokenizer.h"
#include "text/raw_encoder.h"
#include "text/symbol_merger.h"
#include "text/vocabulary.h"

namespace stretto {

// Merges as (symbol, symbol) -> (rank, symbol). Symbols are token ids; texts that occur in merges without being tokens
// get ids from vocabulary.size() on, so that merges through them work as if on texts.
class MergeTable {
 public:
  // `merges[rank]` is "left right", split at the first space at or after byte 1; of equal pairs the first counts.
  // Throws Error(kInvalidModel) for an entry without two parts and for more than 2^24 entries.
  MergeTable(const Vocabulary& vocabulary, const std::vector<std::string>& merges);

  PairMerge find(int32_t left, int32_t right) const {
    if (left < 0 || right < 0) return {};
    const PairMerge* merge = merges_.find(static_cast<uint64_t>(left) << 32 | static_cast<uint32_t>(right));
    return merge == nullptr ? PairMerge{} : *merge;
  }

  // The symbol of a text, -1 if it is neither a token nor part of a merge.
  int32_t symbol(std::string_view text) const;

 private:
  int32_t find_or_add(std::string_view text);

  const Vocabulary& vocabulary_;
  std::unordered_map<std::string, int32_t> unlisted_;  // texts of merges that are not tokens: none in sound files
  FlatMap<PairMerge> merges_;
};

// Byte-level BPE (tokenizer.ggml.model "gpt2"): text -> valid UTF-8 -> pieces -> bytes in the byte alphabet -> merges.
class ByteLevelBpe : public RawEncoder {
 public:
  // `vocabulary` must outlive this object.
  ByteLevelBpe(const Vocabulary& vocabulary, const std::vector<std::string>& merges, const PreRule& rule);

  void encode(std::string_view raw, std::vector<int32_t>& ids, std::vector<std::string>* warnings) const override;

 private:
  struct Scratch {
    std::string valid;
    std::string word;
    std::vector<Span> pieces;
    std::vector<Symbol> symbols;
    SymbolMerger merger;
    PieceCache cache;
  };

  void encode_piece(std::string_view piece, Scratch& scratch, std::vector<int32_t>& ids) const;

  const Vocabulary& vocabulary_;
  MergeTable merges_;
  PreTokenizer pre_;
  bool ignore_merges_;
  std::array<int32_t, 256> byte_symbols_;
  mutable ObjectPool<Scratch> scratch_;
};

// BPE over UTF-8 texts with U+2581 for a space (tokenizer.ggml.model "gemma4"); what is not in the vocabulary becomes
// byte tokens.
class RawUtf8Bpe : public RawEncoder {
 public:
  // `vocabulary` must outlive this object.
  RawUtf8Bpe(const Vocabulary& vocabulary, const std::vector<std::string>& merges, const PreRule& rule);

  void encode(std::string_view raw, std::vector<int32_t>& ids, std::vector<std::string>* warnings) const override;

 private:
  struct Scratch {
    std::string valid;
    std::string escaped;
    std::vector<Span> pieces;
    std::vector<Symbol> symbols;
    SymbolMerger merger;
  };

  void encode_piece(std::string_view piece, Scratch& scratch, std::vector<int32_t>& ids) const;

  const Vocabulary& vocabulary_;
  MergeTable merges_;
  PreTokenizer pre_;
  bool newline_rule_;
  std::array<int32_t, 256> byte_tokens_;  // ids of <0xHH>, -1: none
  mutable ObjectPool<Scratch> scratch_;
};

// Ids of the byte tokens <0xHH>, -1 where there is none.
std::array<int32_t, 256> find_byte_tokens(const Vocabulary& vocabulary);

// Replaces `out` by `text` with every ASCII space as U+2581.
void escape_spaces(std::string_view text, std::string& out);

}  // namespace stretto
