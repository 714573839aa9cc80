// The BPE model of tokenizer.json: vocabulary, merges by rank, and what becomes of characters that are no token.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/flat_map.h"
#include "text/hf/json_fields.h"
#include "text/hf/tokenizer_json.h"
#include "text/piece_cache.h"
#include "text/symbol_merger.h"
#include "text/vocabulary.h"

namespace stretto::hf {

class BpeModel {
 public:
  // `model` is the object of that name without its vocabulary and merges.
  // Throws Error: kUnsupported for another model type or a dropout, kInvalidModel for contradictions.
  BpeModel(const Json& model, BpeData data, std::string_view path, Warnings& warnings);

  struct Scratch {
    std::vector<Symbol> symbols;
    std::string text;
    SymbolMerger merger;
    PieceCache cache;
  };
  // Appends the ids of one piece: valid UTF-8, not empty, at most 1 GiB.
  void encode(std::string_view piece, std::vector<int32_t>& ids, Scratch& scratch) const;

  size_t n_entries() const { return n_entries_; }  // distinct texts, the empty one included
  int32_t find(std::string_view text) const;       // -1: none
  bool byte_fallback() const { return byte_fallback_; }
  const std::optional<int32_t>& unknown() const { return unknown_; }

  // Calls visit(id, text) for every entry.
  template <class Visit>
  void for_each(const Visit& visit) const {
    for (int32_t i = 0; i < entries_.size(); ++i) {
      if (ids_[i] >= 0) visit(ids_[i], entries_.text(i));
    }
  }

 private:
  void read_flags(Fields& fields);
  void read_entries(BpeData& data, std::string_view path);
  void read_merges(const std::vector<std::string>& parts, std::string_view path);
  void split_characters(std::string_view piece, Scratch& scratch) const;

  Vocabulary entries_;        // in file order, without the empty text
  std::vector<int32_t> ids_;  // [entries_.size()]; -1 where a later entry has the same text
  size_t n_entries_ = 0;
  FlatMap<PairMerge> merges_;
  bool ignore_merges_ = false;
  bool byte_fallback_ = false;
  bool fuse_unknown_ = false;
  std::optional<int32_t> unknown_;
  std::string prefix_;                   // of every character but the first of a piece
  std::string suffix_;                   // of the last character of a piece
  std::array<int32_t, 256> byte_ids_{};  // of <0xHH>, -1: none
};

}  // namespace stretto::hf
