// The byte alphabet of byte-level BPE vocabularies (GPT-2): every byte is written as one visible code point.
// Bytes 0x21-0x7E, 0xA1-0xAC and 0xAE-0xFF stand for the code point of equal value; the remaining 68 bytes, in
// increasing order, for U+0100 .. U+0143 (space is U+0120, newline U+010A).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace stretto {

char32_t byte_symbol(uint8_t byte);

// The byte that a code point stands for, or -1.
int symbol_byte(char32_t code_point);

// Appends the UTF-8 text of every byte's symbol.
void append_byte_symbols(std::string& out, std::string_view bytes);

// The bytes that `text` (UTF-8 in the alphabet) stands for; whatever lies outside the alphabet is copied unchanged.
std::string bytes_of_symbols(std::string_view text);

}  // namespace stretto
