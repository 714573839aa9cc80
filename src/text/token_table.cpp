#include "text/token_table.h"

#include <fmt/format.h>

#include "text/byte_alphabet.h"
#include "text/utf8.h"

namespace stretto {
namespace {

std::string with_spaces(std::string_view text) {
  std::string out;
  size_t begin = 0;
  for (size_t at = text.find(kBlankSymbol); at != std::string_view::npos; at = text.find(kBlankSymbol, begin)) {
    out.append(text, begin, at - begin);
    out.push_back(' ');
    begin = at + kBlankSymbol.size();
  }
  out.append(text, begin);
  return out;
}

std::string normal_piece(std::string_view text, TextCoding coding) {
  return coding == TextCoding::kByteAlphabet ? bytes_of_symbols(text) : with_spaces(text);
}

}  // namespace

void fill_pieces(TokenTable& table, TextCoding coding) {
  const Vocabulary& vocabulary = table.vocabulary;
  table.pieces.resize(vocabulary.size());
  size_t odd_byte_tokens = 0;
  for (int32_t id = 0; id < vocabulary.size(); ++id) {
    const std::string_view text = vocabulary.text(id);
    switch (vocabulary.type(id)) {
      case TokenType::kControl:
      case TokenType::kUnknown:
      case TokenType::kUserDefined:
        table.pieces[id] = text;
        break;
      case TokenType::kByte:
        if (const int value = byte_token_value(text); value >= 0) {
          table.pieces[id] = static_cast<char>(value);
        } else {
          table.pieces[id] = normal_piece(text, coding);
          ++odd_byte_tokens;
        }
        break;
      case TokenType::kNormal:
        table.pieces[id] = normal_piece(text, coding);
        break;
      case TokenType::kUnused:
      case TokenType::kUndefined:
        break;
    }
  }
  if (odd_byte_tokens > 0) {
    table.warnings.push_back(fmt::format(
        "{} tokens have type 'byte' but not the form <0xHH>; they are printed as ordinary text", odd_byte_tokens));
  }
}

}  // namespace stretto
