#include "jinja/unicode.h"

#include <utf8proc.h>

#include <iterator>

namespace stretto::jinja {
namespace {

struct FullMapping {
  char32_t code;
  std::string_view upper;
  std::string_view title;
};

// Letters without a capital of one code point (Unicode SpecialCasing.txt, Latin part).
constexpr FullMapping kFullMappings[] = {
    {0xDF, "SS", "Ss"},
    {0x149, "\u02BCN", "\u02BCN"},
    {0x1F0, "J\u030C", "J\u030C"},
    {0x1E96, "H\u0331", "H\u0331"},
    {0x1E97, "T\u0308", "T\u0308"},
    {0x1E98, "W\u030A", "W\u030A"},
    {0x1E99, "Y\u030A", "Y\u030A"},
    {0x1E9A, "A\u02BE", "A\u02BE"},
    {0xFB00, "FF", "Ff"},
    {0xFB01, "FI", "Fi"},
    {0xFB02, "FL", "Fl"},
    {0xFB03, "FFI", "Ffi"},
    {0xFB04, "FFL", "Ffl"},
    {0xFB05, "ST", "St"},
    {0xFB06, "ST", "St"},
};

const FullMapping* full_mapping(char32_t c) {
  if (c != 0xDF && c != 0x149 && c != 0x1F0 && c < 0x1E96) return nullptr;
  for (const FullMapping& mapping : kFullMappings) {
    if (mapping.code == c) return &mapping;
  }
  return nullptr;
}

utf8proc_category_t category(char32_t c) { return utf8proc_category(static_cast<utf8proc_int32_t>(c)); }

bool is_continuation(char c) { return (static_cast<unsigned char>(c) & 0xC0) == 0x80; }

// Marks and punctuation that do not end a word for the final sigma.
bool is_case_ignorable(char32_t c) {
  if (c == '\'' || c == '.' || c == ':' || c == 0xB7 || c == 0x2019) return true;
  const utf8proc_category_t k = category(c);
  return k == UTF8PROC_CATEGORY_MN || k == UTF8PROC_CATEGORY_ME || k == UTF8PROC_CATEGORY_CF ||
         k == UTF8PROC_CATEGORY_LM || k == UTF8PROC_CATEGORY_SK;
}

// Whether the sigma at [at, at + 2) has a cased letter before it in its word and none after it.
bool is_final_sigma(std::string_view text, size_t at) {
  bool cased_before = false;
  for (size_t i = at; i > 0;) {
    do --i;
    while (i > 0 && is_continuation(text[i]));
    const char32_t c = decode(text, i).code;
    if (is_case_ignorable(c)) continue;
    cased_before = is_cased(c);
    break;
  }
  if (!cased_before) return false;
  for (size_t i = at + 2; i < text.size();) {
    const CodePoint next = decode(text, i);
    if (!is_case_ignorable(next.code)) return !is_cased(next.code);
    i += next.n_bytes;
  }
  return true;
}

void append_lower(std::string& out, std::string_view text, size_t at, CodePoint c) {
  constexpr char32_t kCapitalSigma = 0x3A3;
  if (c.code == kCapitalSigma) {
    append_utf8(out, is_final_sigma(text, at) ? 0x3C2 : 0x3C3);
  } else if (c.code == 0x130) {
    out += "i\u0307";
  } else {
    const auto lower = static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c.code)));
    if (lower == c.code) {
      out.append(text, at, c.n_bytes);
    } else {
      append_utf8(out, lower);
    }
  }
}

void append_title(std::string& out, std::string_view text, size_t at, CodePoint c) {
  if (const FullMapping* full = full_mapping(c.code)) {
    out += full->title;
    return;
  }
  const auto title = static_cast<char32_t>(utf8proc_totitle(static_cast<utf8proc_int32_t>(c.code)));
  if (title == c.code) {
    out.append(text, at, c.n_bytes);
  } else {
    append_utf8(out, title);
  }
}

bool in_set(std::string_view set, CodePoint c, std::string_view bytes) {
  if (c.n_bytes == 1) return set.find(bytes[0]) != std::string_view::npos;
  for (size_t i = 0; i < set.size();) {
    const CodePoint member = decode(set, i);
    if (member.n_bytes == c.n_bytes && set.substr(i, member.n_bytes) == bytes) return true;
    i += member.n_bytes;
  }
  return false;
}

}  // namespace

CodePoint decode(std::string_view text, size_t at) {
  const auto lead = static_cast<unsigned char>(text[at]);
  if (lead < 0x80) return {lead, 1};
  constexpr CodePoint kInvalid{0xFFFD, 1};
  const size_t n_bytes = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
  if (lead < 0xC2 || lead > 0xF4 || text.size() - at < n_bytes) return kInvalid;
  char32_t code = lead & (0x7F >> n_bytes);
  for (size_t i = 1; i < n_bytes; ++i) {
    if (!is_continuation(text[at + i])) return kInvalid;
    code = code << 6 | (static_cast<unsigned char>(text[at + i]) & 0x3F);
  }
  const bool too_long = (n_bytes == 3 && code < 0x800) || (n_bytes == 4 && code < 0x10000);
  if (too_long || code > 0x10FFFF || (code >= 0xD800 && code < 0xE000)) return kInvalid;
  return {code, n_bytes};
}

void append_utf8(std::string& out, char32_t code) {
  utf8proc_uint8_t bytes[4];
  const auto n = utf8proc_encode_char(static_cast<utf8proc_int32_t>(code), bytes);
  out.append(reinterpret_cast<const char*>(bytes), static_cast<size_t>(n));
}

bool is_valid_utf8(std::string_view text) {
  for (size_t i = 0; i < text.size();) {
    const CodePoint c = decode(text, i);
    if (c.n_bytes == 1 && c.code >= 0x80) return false;
    i += c.n_bytes;
  }
  return true;
}

size_t count_code_points(std::string_view text) {
  size_t count = 0;
  for (size_t i = 0; i < text.size(); i += decode(text, i).n_bytes) ++count;
  return count;
}

size_t byte_offset(std::string_view text, size_t index) {
  size_t at = 0;
  for (; index > 0 && at < text.size(); --index) at += decode(text, at).n_bytes;
  return at;
}

std::string reversed(std::string_view text) {
  std::string out(text.size(), '\0');
  size_t end = text.size();
  for (size_t i = 0; i < text.size();) {
    const size_t n_bytes = decode(text, i).n_bytes;
    end -= n_bytes;
    text.copy(&out[end], n_bytes, i);
    i += n_bytes;
  }
  return out;
}

bool is_space(char32_t c) {
  if (c <= 0x20) return c == ' ' || (c >= 9 && c <= 13) || (c >= 0x1C && c <= 0x1F);
  if (c < 0x1680) return c == 0x85 || c == 0xA0;
  return c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F ||
         c == 0x3000;
}

bool is_line_break(char32_t c) {
  return (c >= 10 && c <= 13) || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 || c == 0x2029;
}

bool is_word(char32_t c) {
  if (c < 0x80) return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
  switch (category(c)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO:
      return true;
    default:
      return false;
  }
}

bool is_printable(char32_t c) {
  if (c < 0x7F) return c >= 0x20;
  switch (category(c)) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_ZS:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
      return false;
    default:
      return true;
  }
}

bool is_digit(char32_t c) {
  if (c < 0x80) return c >= '0' && c <= '9';
  const bool superscript = c == 0xB2 || c == 0xB3 || c == 0xB9 || (c >= 0x2070 && c <= 0x2089 && c != 0x2071);
  return superscript || category(c) == UTF8PROC_CATEGORY_ND;
}

bool is_upper(char32_t c) {
  if (c < 0x80) return c >= 'A' && c <= 'Z';
  return category(c) == UTF8PROC_CATEGORY_LU;
}

bool is_lower(char32_t c) {
  if (c < 0x80) return c >= 'a' && c <= 'z';
  return category(c) == UTF8PROC_CATEGORY_LL;
}

bool is_cased(char32_t c) { return is_upper(c) || is_lower(c) || (c >= 0x80 && category(c) == UTF8PROC_CATEGORY_LT); }

bool all_upper(std::string_view text) {
  bool any = false;
  for (size_t i = 0; i < text.size();) {
    const CodePoint c = decode(text, i);
    if (is_cased(c.code)) {
      if (!is_upper(c.code)) return false;
      any = true;
    }
    i += c.n_bytes;
  }
  return any;
}

bool all_lower(std::string_view text) {
  bool any = false;
  for (size_t i = 0; i < text.size();) {
    const CodePoint c = decode(text, i);
    if (is_cased(c.code)) {
      if (!is_lower(c.code)) return false;
      any = true;
    }
    i += c.n_bytes;
  }
  return any;
}

std::string to_upper(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size();) {
    const CodePoint c = decode(text, i);
    const auto upper = static_cast<char32_t>(utf8proc_toupper(static_cast<utf8proc_int32_t>(c.code)));
    if (const FullMapping* full = full_mapping(c.code)) {
      out += full->upper;
    } else if (upper == c.code) {
      out.append(text, i, c.n_bytes);
    } else {
      append_utf8(out, upper);
    }
    i += c.n_bytes;
  }
  return out;
}

std::string to_lower(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size();) {
    const CodePoint c = decode(text, i);
    append_lower(out, text, i, c);
    i += c.n_bytes;
  }
  return out;
}

std::string to_capitalized(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size();) {
    const CodePoint c = decode(text, i);
    i == 0 ? append_title(out, text, i, c) : append_lower(out, text, i, c);
    i += c.n_bytes;
  }
  return out;
}

std::string to_title(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  bool inside = false;
  for (size_t i = 0; i < text.size();) {
    const CodePoint c = decode(text, i);
    inside ? append_lower(out, text, i, c) : append_title(out, text, i, c);
    inside = is_cased(c.code);
    i += c.n_bytes;
  }
  return out;
}

std::string_view strip(std::string_view text, bool left, bool right, const std::string_view* chars) {
  const auto removed = [chars, text](size_t at, CodePoint c) {
    return chars == nullptr ? is_space(c.code) : in_set(*chars, c, text.substr(at, c.n_bytes));
  };
  size_t begin = 0;
  while (left && begin < text.size()) {
    const CodePoint c = decode(text, begin);
    if (!removed(begin, c)) break;
    begin += c.n_bytes;
  }
  size_t end = text.size();
  while (right && end > begin) {
    size_t at = end - 1;
    while (at > begin && end - at < 4 && is_continuation(text[at])) --at;
    if (decode(text, at).n_bytes != end - at) at = end - 1;  // a stray byte
    if (!removed(at, decode(text, at))) break;
    end = at;
  }
  return text.substr(begin, end - begin);
}

}  // namespace stretto::jinja
