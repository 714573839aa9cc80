#include "jinja/string_literal.h"

#include <fmt/format.h>

#include <charconv>

#include "jinja/unicode.h"

namespace stretto::jinja {
namespace {

// The number of hexadecimal digits after \x, \u, \U; 0 for other letters.
size_t hex_digits(char letter) { return letter == 'x' ? 2 : letter == 'u' ? 4 : letter == 'U' ? 8 : 0; }

bool append_scalar(std::string& out, uint32_t code, std::string& error) {
  if (code > 0x10FFFF || (code >= 0xD800 && code < 0xE000)) {
    error = fmt::format("U+{:04X} in a string is no Unicode scalar value", code);
    return false;
  }
  append_utf8(out, code);
  return true;
}

}  // namespace

bool decode_string_literal(std::string_view inside, std::string& out, std::string& error) {
  constexpr std::string_view kLetters = "ntr\\'\"abfv";
  constexpr std::string_view kMeanings = "\n\t\r\\'\"\a\b\f\v";
  for (size_t i = 0; i < inside.size(); ++i) {
    if (inside[i] != '\\' || i + 1 == inside.size()) {
      out += inside[i];
      continue;
    }
    const char letter = inside[++i];
    if (letter == '\n') continue;
    if (const size_t simple = kLetters.find(letter); simple != std::string_view::npos) {
      out += kMeanings[simple];
    } else if (const size_t n_digits = hex_digits(letter); n_digits > 0) {
      uint32_t code = 0;
      const std::string_view digits = inside.substr(i + 1, n_digits);
      const auto parsed = std::from_chars(digits.data(), digits.data() + digits.size(), code, 16);
      if (digits.size() < n_digits || parsed.ec != std::errc() || parsed.ptr != digits.data() + n_digits) {
        error = fmt::format("'\\{}' in a string needs {} hexadecimal digits", letter, n_digits);
        return false;
      }
      if (!append_scalar(out, code, error)) return false;
      i += n_digits;
    } else if (letter >= '0' && letter <= '7') {
      uint32_t code = 0;
      size_t n = 0;
      for (; n < 3 && i + n < inside.size() && inside[i + n] >= '0' && inside[i + n] <= '7'; ++n) {
        code = code * 8 + static_cast<uint32_t>(inside[i + n] - '0');
      }
      append_utf8(out, code);
      i += n - 1;
    } else {
      out += '\\';
      out += letter;
    }
  }
  return true;
}

}  // namespace stretto::jinja
