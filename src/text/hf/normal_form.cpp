#include "text/hf/normal_form.h"

#include <utf8proc.h>

#include <algorithm>
#include <vector>

#include "base/check.h"
#include "text/hf/pattern.h"
#include "text/utf8.h"

namespace stretto::hf {
namespace {

bool is_ascii(char c) { return static_cast<unsigned char>(c) < 0x80; }

int options_of(NormalForm form) {
  const bool compose = form == NormalForm::kNfc || form == NormalForm::kNfkc;
  const bool compatibility = form == NormalForm::kNfkc || form == NormalForm::kNfkd;
  return (compose ? UTF8PROC_COMPOSE : UTF8PROC_DECOMPOSE) | UTF8PROC_STABLE | (compatibility ? UTF8PROC_COMPAT : 0);
}

int combining_class(utf8proc_int32_t c) { return utf8proc_get_property(c)->combining_class; }

// Canonical order: marks by their class. utf8proc's own ordering is quadratic in the number of marks in a row.
void order_marks(std::vector<utf8proc_int32_t>& characters) {
  auto begin = characters.begin();
  while (begin != characters.end()) {
    if (combining_class(*begin) == 0) {
      ++begin;
      continue;
    }
    auto end = begin;
    while (end != characters.end() && combining_class(*end) != 0) ++end;
    std::stable_sort(begin, end, [](auto a, auto b) { return combining_class(a) < combining_class(b); });
    begin = end;
  }
}

void append_normal_form(int options, std::string_view text, std::vector<utf8proc_int32_t>& buffer, std::string& out) {
  constexpr size_t kMaxExpansion = 32;  // 18 in fact
  buffer.clear();
  for (size_t at = 0; at < text.size();) {
    const size_t length = utf8_length_at(text, at);
    utf8proc_int32_t expansion[kMaxExpansion];
    int bound_class = 0;
    const auto c = static_cast<utf8proc_int32_t>(utf8_code_point(text, at, length));
    const utf8proc_ssize_t n =
        utf8proc_decompose_char(c, expansion, kMaxExpansion, static_cast<utf8proc_option_t>(options), &bound_class);
    CHECK(n >= 0 && n <= static_cast<utf8proc_ssize_t>(kMaxExpansion));
    buffer.insert(buffer.end(), expansion, expansion + n);
    require_text_size(out.size() + buffer.size());
    at += length;
  }
  order_marks(buffer);
  auto n = static_cast<utf8proc_ssize_t>(buffer.size());
  if ((options & UTF8PROC_COMPOSE) != 0) {
    n = utf8proc_normalize_utf32(buffer.data(), n, static_cast<utf8proc_option_t>(options));
    CHECK(n >= 0);
  }
  for (utf8proc_ssize_t i = 0; i < n; ++i) append_utf8(out, static_cast<char32_t>(buffer[i]));
}

}  // namespace

void to_normal_form(NormalForm form, std::string_view text, std::string& out) {
  out.clear();
  out.reserve(text.size());
  std::vector<utf8proc_int32_t> buffer;
  const int options = options_of(form);
  // Nothing joins an ASCII character to what stands before it, so each stretch "ASCII character, others" is on its own.
  size_t begin = 0;
  while (begin < text.size()) {
    size_t other = begin;
    while (other < text.size() && is_ascii(text[other])) ++other;
    if (other == text.size()) break;
    size_t end = other;
    while (end < text.size() && !is_ascii(text[end])) ++end;
    const size_t first = other > begin ? other - 1 : other;
    out.append(text, begin, first - begin);
    append_normal_form(options, text.substr(first, end - first), buffer, out);
    begin = end;
  }
  out.append(text, begin);
}

}  // namespace stretto::hf
