#include "text/byte_alphabet.h"

#include <array>

#include "text/utf8.h"

namespace stretto {
namespace {

constexpr char32_t kFirstMoved = 0x100;
constexpr size_t kSymbols = kFirstMoved + 68;

constexpr bool stands_for_itself(int byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

constexpr std::array<char32_t, 256> make_symbols() {
  std::array<char32_t, 256> symbols{};
  char32_t next = kFirstMoved;
  for (int byte = 0; byte < 256; ++byte) symbols[byte] = stands_for_itself(byte) ? char32_t(byte) : next++;
  return symbols;
}

constexpr std::array<char32_t, 256> kSymbolOfByte = make_symbols();

constexpr std::array<int16_t, kSymbols> make_bytes() {
  std::array<int16_t, kSymbols> bytes{};
  for (auto& byte : bytes) byte = -1;
  for (int byte = 0; byte < 256; ++byte) bytes[kSymbolOfByte[byte]] = static_cast<int16_t>(byte);
  return bytes;
}

constexpr std::array<int16_t, kSymbols> kByteOfSymbol = make_bytes();

}  // namespace

char32_t byte_symbol(uint8_t byte) { return kSymbolOfByte[byte]; }

int symbol_byte(char32_t code_point) { return code_point < kSymbols ? kByteOfSymbol[code_point] : -1; }

void append_byte_symbols(std::string& out, std::string_view bytes) {
  for (const char byte : bytes) append_utf8(out, byte_symbol(static_cast<uint8_t>(byte)));
}

std::string bytes_of_symbols(std::string_view text) {
  std::string bytes;
  bytes.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const size_t length = utf8_length_at(text, at);
    const int byte = length == 0 ? -1 : symbol_byte(utf8_code_point(text, at, length));
    if (byte >= 0) {
      bytes.push_back(static_cast<char>(byte));
    } else {
      bytes.append(text, at, length == 0 ? 1 : length);
    }
    at += length == 0 ? 1 : length;
  }
  return bytes;
}

}  // namespace stretto
