// The token table of a model: id <-> text, types and special ids. Texts are byte strings.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace stretto {

// Values as GGUF and SentencePiece store them.
enum class TokenType : uint8_t {
  kUndefined = 0,
  kNormal = 1,
  kUnknown = 2,
  kControl = 3,
  kUserDefined = 4,
  kUnused = 5,
  kByte = 6,
};

// Tokens that are cut out of a text before it is tokenized.
inline bool is_special(TokenType type) {
  return type == TokenType::kControl || type == TokenType::kUserDefined || type == TokenType::kUnknown;
}

// How vocabularies without a byte alphabet spell a space: U+2581.
inline constexpr std::string_view kBlankSymbol = "\xE2\x96\x81";

// Texts, types and the text -> id table. Of two ids with one text the higher is found.
class Vocabulary {
 public:
  Vocabulary() = default;
  // An empty text becomes "[EMPTY_<id>]". Throws Error(kInvalidModel) for no texts, more than 2^24 texts, more than
  // 4 GiB of text. types.size() == texts.size().
  Vocabulary(const std::vector<std::string>& texts, std::vector<TokenType> types);

  int32_t size() const { return static_cast<int32_t>(types_.size()); }
  bool contains(int64_t id) const { return id >= 0 && id < size(); }

  std::string_view text(int32_t id) const {
    return std::string_view(bytes_).substr(begin_[id], begin_[id + 1] - begin_[id]);
  }
  size_t max_text_bytes() const { return max_text_bytes_; }

  TokenType type(int32_t id) const { return types_[id]; }
  void set_type(int32_t id, TokenType type) { types_[id] = type; }

  // The id of an exact text, of whatever type; -1 if there is none.
  int32_t find(std::string_view text) const;

  // Tokens that find() never returns because a later one has the same text, in id order.
  const std::vector<int32_t>& duplicates() const { return duplicates_; }

 private:
  struct Slot {
    uint32_t tag = 0;  // upper half of the hash
    int32_t id = -1;   // -1: free
  };

  void index_texts();

  std::string bytes_;            // all texts, one after the other
  std::vector<uint32_t> begin_;  // [size + 1]
  std::vector<TokenType> types_;
  std::vector<Slot> slots_;  // power of two, linear probing
  std::vector<int32_t> duplicates_;
  size_t max_text_bytes_ = 0;
};

struct SpecialIds {
  std::optional<int32_t> bos, eos, eot, eom, unknown, separator, padding, mask;
  std::optional<int32_t> fim_prefix, fim_suffix, fim_middle, fim_pad, fim_repo, fim_separator;
};

// The value of a byte token's text "<0xHH>" (either hex case), or -1.
int byte_token_value(std::string_view text);

// "<0xHH>" with upper-case digits.
std::string byte_token_text(uint8_t byte);

}  // namespace stretto
