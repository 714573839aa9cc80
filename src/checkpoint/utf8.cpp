#include "checkpoint/utf8.h"

#include <fmt/format.h>

#include <cstdint>

namespace stretto {
namespace {

// Bytes of the sequence that starts `text`, 0 when it is malformed. RFC 3629 section 4.
size_t sequence_length(std::string_view text) {
  const auto at = [text](size_t i) -> uint8_t { return i < text.size() ? static_cast<uint8_t>(text[i]) : 0; };
  const auto follows = [&at](size_t i, uint8_t low, uint8_t high) { return at(i) >= low && at(i) <= high; };
  const uint8_t lead = at(0);
  if (lead < 0x80) return 1;
  if (lead >= 0xc2 && lead <= 0xdf) return follows(1, 0x80, 0xbf) ? 2 : 0;
  if (lead >= 0xe0 && lead <= 0xef) {
    const uint8_t low = lead == 0xe0 ? 0xa0 : 0x80;
    const uint8_t high = lead == 0xed ? 0x9f : 0xbf;
    return follows(1, low, high) && follows(2, 0x80, 0xbf) ? 3 : 0;
  }
  if (lead >= 0xf0 && lead <= 0xf4) {
    const uint8_t low = lead == 0xf0 ? 0x90 : 0x80;
    const uint8_t high = lead == 0xf4 ? 0x8f : 0xbf;
    return follows(1, low, high) && follows(2, 0x80, 0xbf) && follows(3, 0x80, 0xbf) ? 4 : 0;
  }
  return 0;
}

}  // namespace

bool is_valid_utf8(std::string_view text) {
  while (!text.empty()) {
    const size_t n = sequence_length(text);
    if (n == 0) return false;
    text.remove_prefix(n);
  }
  return true;
}

std::string printable(std::string_view text, size_t max_bytes) {
  std::string out;
  while (!text.empty()) {
    const size_t n = sequence_length(text);
    const auto lead = static_cast<uint8_t>(text[0]);
    const bool control =
        lead < 0x20 || lead == 0x7f || (lead == 0xc2 && n == 2 && static_cast<uint8_t>(text[1]) < 0xa0);
    const std::string piece = n == 0 || control ? fmt::format("\\x{:02x}", lead) : std::string(text.substr(0, n));
    if (out.size() + piece.size() > max_bytes) return out + "...";
    out += piece;
    text.remove_prefix(n == 0 || control ? 1 : n);
  }
  return out;
}

}  // namespace stretto
