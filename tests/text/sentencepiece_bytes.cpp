#include "text/sentencepiece_bytes.h"

#include <cstring>

namespace stretto {

std::string proto_varint(uint64_t value) {
  std::string out;
  for (; value >= 0x80; value >>= 7) out.push_back(static_cast<char>(value | 0x80));
  out.push_back(static_cast<char>(value));
  return out;
}

std::string proto_number(uint32_t field, uint64_t value) { return proto_varint(field << 3) + proto_varint(value); }

std::string proto_bytes(uint32_t field, std::string_view bytes) {
  return proto_varint(field << 3 | 2) + proto_varint(bytes.size()) + std::string(bytes);
}

std::string proto_float(uint32_t field, float value) {
  char bytes[4];
  std::memcpy(bytes, &value, 4);
  return proto_varint(field << 3 | 5) + std::string(bytes, 4);
}

std::string proto_piece(std::string_view text, float score, int type) {
  std::string piece = proto_bytes(1, text) + proto_float(2, score);
  if (type != 1) piece += proto_number(3, static_cast<uint64_t>(type));  // as SentencePiece does: 1 is the default
  return proto_bytes(1, piece);
}

SentencePieceBytes::SentencePieceBytes(const Metadata& gguf) {
  const std::vector<std::string>& texts = *gguf.get_strings("tokenizer.ggml.tokens");
  const auto types = *gguf.get_ints("tokenizer.ggml.token_type");
  const auto scores = *gguf.get_floats("tokenizer.ggml.scores");
  for (size_t id = 0; id < texts.size(); ++id) {
    pieces += proto_piece(texts[id], static_cast<float>(scores[id]), static_cast<int>(types[id]));
  }
  const auto id = [&](const char* name, int64_t default_id) {
    return static_cast<uint64_t>(gguf.get_int(std::string("tokenizer.ggml.") + name).value_or(default_id));
  };
  trainer = proto_bytes(1, "input.txt") + proto_number(3, 2) + proto_number(35, 1) +
            proto_number(40, id("unknown_token_id", 0)) + proto_number(41, id("bos_token_id", 1)) +
            proto_number(42, id("eos_token_id", 2)) + proto_number(43, id("padding_token_id", -1));
  normalizer = proto_bytes(1, "identity") + proto_bytes(2, "") +
               proto_number(3, gguf.get_bool("tokenizer.ggml.add_space_prefix").value_or(true)) + proto_number(4, 0) +
               proto_number(5, 1);
}

std::string SentencePieceBytes::file() const {
  return pieces + proto_bytes(2, trainer) + proto_bytes(3, normalizer) + proto_bytes(5, proto_bytes(1, ""));
}

}  // namespace stretto
