// A template's source as tokens, with the white space of the text between tags already removed as trim_blocks,
// lstrip_blocks and the signs inside the delimiters ask.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace stretto::jinja {

enum class TokenKind : uint8_t {
  kText,
  kVariableBegin,  // {{
  kVariableEnd,
  kBlockBegin,  // {%
  kBlockEnd,
  kName,
  kString,  // `value` holds the decoded text
  kInteger,
  kFloat,
  kOperator,  // brackets and punctuation too
  kEnd,
};

struct Token {
  TokenKind kind;
  uint32_t at;            // byte in the source
  std::string_view text;  // a part of the source
  std::string value;
};

// A fault in a template's text at a byte of its source.
struct SyntaxFault {
  uint32_t at;
  std::string message;
};

// Line ends \r\n and \r become \n, and one line end at the end is dropped.
std::string normalized_source(std::string_view source);

// The tokens of a normalized source, which must outlive them; the last is kEnd. Comments and raw tags leave no token.
// Throws SyntaxFault.
std::vector<Token> tokenize(std::string_view source);

}  // namespace stretto::jinja
