// Writes tokenizer.model files: the protobuf messages of SentencePiece, byte by byte.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "checkpoint/metadata.h"

namespace stretto {

std::string proto_varint(uint64_t value);
std::string proto_number(uint32_t field, uint64_t value);  // wire type 0
std::string proto_bytes(uint32_t field, std::string_view bytes);
std::string proto_float(uint32_t field, float value);
std::string proto_piece(std::string_view text, float score, int type);  // a whole entry of `pieces`

struct SentencePieceBytes {
  // The vocabulary of a GGUF file of the SPM kind, with its ids, its prefix flag, and no collapsing of spaces.
  explicit SentencePieceBytes(const Metadata& gguf);
  std::string file() const;

  std::string pieces;
  std::string trainer;     // fields of trainer_spec; a later one replaces an earlier one
  std::string normalizer;  // fields of normalizer_spec
};

}  // namespace stretto
