#include "jinja/text_split.h"

#include <algorithm>
#include <cstring>
#include <iterator>

#include "jinja/unicode.h"

namespace stretto::jinja {

size_t find_text(std::string_view text, std::string_view part, size_t from) {
  if (from > text.size()) return std::string_view::npos;
  const void* found = memmem(text.data() + from, text.size() - from, part.data(), part.size());
  return found == nullptr ? std::string_view::npos : static_cast<size_t>(static_cast<const char*>(found) - text.data());
}

size_t find_last_text(std::string_view text, std::string_view part, size_t end) {
  // The first occurrence in the reversed text; memmem keeps it linear.
  const std::string backwards(std::make_reverse_iterator(text.begin() + static_cast<std::ptrdiff_t>(end)), text.rend());
  const std::string part_backwards(part.rbegin(), part.rend());
  const size_t found = find_text(backwards, part_backwards);
  return found == std::string_view::npos ? found : end - found - part.size();
}

std::string replaced(std::string_view text, std::string_view from, std::string_view to, size_t limit) {
  std::string out;
  size_t at = 0;
  if (from.empty()) {
    for (; at < text.size() && limit > 0; --limit) {
      const size_t n_bytes = decode(text, at).n_bytes;
      out += to;
      out += text.substr(at, n_bytes);
      at += n_bytes;
    }
    out += text.substr(at);
    if (limit > 0) out += to;
    return out;
  }
  for (; limit > 0; --limit) {
    const size_t found = find_text(text, from, at);
    if (found == std::string_view::npos) break;
    out += text.substr(at, found - at);
    out += to;
    at = found + from.size();
  }
  out += text.substr(at);
  return out;
}

std::vector<std::string_view> split_lines(std::string_view text, bool keep_ends) {
  std::vector<std::string_view> lines;
  size_t begin = 0;
  for (size_t at = 0; at < text.size();) {
    const CodePoint c = decode(text, at);
    if (!is_line_break(c.code)) {
      at += c.n_bytes;
      continue;
    }
    const size_t end = at;
    at += c.code == '\r' && at + 1 < text.size() && text[at + 1] == '\n' ? 2 : c.n_bytes;
    lines.push_back(text.substr(begin, (keep_ends ? at : end) - begin));
    begin = at;
  }
  if (begin < text.size()) lines.push_back(text.substr(begin));
  return lines;
}

}  // namespace stretto::jinja
