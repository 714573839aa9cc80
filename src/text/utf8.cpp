#include "text/utf8.h"

#include <algorithm>
#include <cstring>

namespace stretto {
namespace {

struct LeadByte {
  uint8_t length;      // of the whole sequence, 0: not a lead byte
  uint8_t second_low;  // range of the second byte: excludes overlong forms, surrogates and > U+10FFFF
  uint8_t second_high;
};

LeadByte classify(uint8_t lead) {
  if (lead < 0x80) return {1, 0, 0};
  if (lead < 0xC2) return {0, 0, 0};
  if (lead < 0xE0) return {2, 0x80, 0xBF};
  if (lead == 0xE0) return {3, 0xA0, 0xBF};
  if (lead == 0xED) return {3, 0x80, 0x9F};
  if (lead < 0xF0) return {3, 0x80, 0xBF};
  if (lead == 0xF0) return {4, 0x90, 0xBF};
  if (lead < 0xF4) return {4, 0x80, 0xBF};
  if (lead == 0xF4) return {4, 0x80, 0x8F};
  return {0, 0, 0};
}

uint8_t byte_at(std::string_view text, size_t at) { return static_cast<uint8_t>(text[at]); }

bool is_continuation(uint8_t byte) { return (byte & 0xC0) == 0x80; }

// Bytes from `at` that belong to one well-formed sequence or to a prefix of one; `length` is that of the whole
// sequence (0: no sequence starts here, the result is 1).
size_t well_formed_part(std::string_view text, size_t at, size_t& length) {
  const LeadByte lead = classify(byte_at(text, at));
  length = lead.length;
  if (lead.length <= 1) return 1;
  const size_t available = std::min<size_t>(lead.length, text.size() - at);
  if (available < 2 || byte_at(text, at + 1) < lead.second_low || byte_at(text, at + 1) > lead.second_high) return 1;
  size_t n = 2;
  while (n < available && is_continuation(byte_at(text, at + n))) ++n;
  return n;
}

// First position at or after `at` whose byte is not ASCII.
size_t skip_ascii(std::string_view text, size_t at) {
  for (; at + 8 <= text.size(); at += 8) {
    uint64_t word;
    std::memcpy(&word, text.data() + at, 8);
    if ((word & 0x8080808080808080u) != 0) break;
  }
  while (at < text.size() && byte_at(text, at) < 0x80) ++at;
  return at;
}

// First position at or after `at` where no well-formed code point starts, or the size.
size_t first_invalid(std::string_view text, size_t at) {
  for (;;) {
    at = skip_ascii(text, at);
    if (at == text.size()) return at;
    const size_t n = utf8_length_at(text, at);
    if (n == 0) return at;
    at += n;
  }
}

}  // namespace

size_t utf8_length_at(std::string_view text, size_t at) {
  size_t length;
  const size_t part = well_formed_part(text, at, length);
  return part == length ? length : 0;
}

char32_t utf8_code_point(std::string_view text, size_t at, size_t length) {
  const uint8_t lead = byte_at(text, at);
  if (length == 1) return lead;
  char32_t code_point = lead & (0x7F >> length);
  for (size_t i = 1; i < length; ++i) code_point = (code_point << 6) | (byte_at(text, at + i) & 0x3F);
  return code_point;
}

void append_utf8(std::string& out, char32_t c) {
  const auto put = [&out](uint32_t byte) { out.push_back(static_cast<char>(byte)); };
  if (c < 0x80) {
    put(c);
  } else if (c < 0x800) {
    put(0xC0 | (c >> 6));
    put(0x80 | (c & 0x3F));
  } else if (c < 0x10000) {
    put(0xE0 | (c >> 12));
    put(0x80 | ((c >> 6) & 0x3F));
    put(0x80 | (c & 0x3F));
  } else {
    put(0xF0 | (c >> 18));
    put(0x80 | ((c >> 12) & 0x3F));
    put(0x80 | ((c >> 6) & 0x3F));
    put(0x80 | (c & 0x3F));
  }
}

std::string_view sanitise_utf8(std::string_view text, std::string& storage) {
  size_t bad = first_invalid(text, 0);
  if (bad == text.size()) return text;
  storage.clear();
  size_t begin = 0;
  while (bad < text.size()) {
    storage.append(text, begin, bad - begin);
    storage.append(kReplacementCharacter);
    begin = bad + 1;
    bad = first_invalid(text, begin);
  }
  storage.append(text, begin);
  return storage;
}

std::string replace_invalid_utf8(std::string_view text) {
  std::string out;
  size_t begin = 0;
  for (size_t bad = first_invalid(text, 0); bad < text.size(); bad = first_invalid(text, begin)) {
    out.append(text, begin, bad - begin);
    out.append(kReplacementCharacter);
    size_t length;
    begin = bad + well_formed_part(text, bad, length);
  }
  out.append(text, begin);
  return out;
}

size_t complete_utf8_prefix(std::string_view text) {
  const size_t size = text.size();
  for (size_t back = 1; back <= std::min<size_t>(3, size); ++back) {
    const uint8_t byte = byte_at(text, size - back);
    if (is_continuation(byte)) continue;
    return classify(byte).length > back ? size - back : size;
  }
  return size;
}

}  // namespace stretto
