// Vocabularies small enough to compute ids by hand.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/metadata.h"

namespace stretto {

// Collects tokens and merges, then writes them as GGUF metadata.
class SmallVocabulary {
 public:
  // Byte-level BPE: ids 0..255 are the bytes 0x00..0xFF.
  static SmallVocabulary byte_level(std::string_view pre);
  // SentencePiece: ids 0..2 are <unk>, <s>, </s>, ids 3..258 the byte tokens.
  static SmallVocabulary spm();
  // Raw UTF-8 BPE: ids 0..2 are <pad>, <eos>, <bos>, ids 3..258 the byte tokens.
  static SmallVocabulary gemma4();

  // Both return the id. Types are those of GGUF: 1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte.
  int32_t add(std::string text, int type = 1, double score = 0);
  // A merge and the token it makes; parts are given as stored.
  int32_t merge(const std::string& left, const std::string& right);

  // Metadata with one key replaced, added or (kNull) left out.
  Metadata metadata() const { return metadata_with("", {}); }
  Metadata metadata_with(const std::string& key, const MetaValue& value) const;

  std::string model;
  std::string pre;
  std::vector<std::string> tokens;
  std::vector<int64_t> types;
  std::vector<double> scores;
  std::vector<std::string> merges;
  std::vector<Metadata::Entry> extra;  // further keys
};

// Deterministic noise (xorshift64*): tests must not depend on a library's generators.
class Noise {
 public:
  explicit Noise(uint64_t seed) : state_(seed * 2654435769u + 1) {}
  uint32_t below(uint32_t n);
  // `length` bytes; `ascii_in_10` tenths of them are from a small alphabet of letters, digits, blanks and punctuation.
  std::string bytes(size_t length, uint32_t ascii_in_10);
  // `length` code points from blanks, letters of several scripts, marks, digits, punctuation and emoji: valid UTF-8.
  std::string text(size_t length);

 private:
  uint64_t state_;
};

}  // namespace stretto
