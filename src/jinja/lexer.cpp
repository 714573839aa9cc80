#include "jinja/lexer.h"

#include <fmt/format.h>

#include "jinja/string_literal.h"
#include "jinja/unicode.h"

namespace stretto::jinja {
namespace {

bool is_ascii_digit(char c) { return c >= '0' && c <= '9'; }

// The number of characters of `source` at `at` that form digits with single underscores between them.
size_t digits_length(std::string_view source, size_t at, std::string_view digits = "0123456789") {
  size_t end = at;
  while (end < source.size()) {
    if (digits.find(source[end]) != std::string_view::npos) {
      ++end;
    } else if (source[end] == '_' && end > at && end + 1 < source.size() &&
               digits.find(source[end + 1]) != std::string_view::npos) {
      end += 2;
    } else {
      break;
    }
  }
  return end - at;
}

class Lexer {
 public:
  explicit Lexer(std::string_view source) : source_(source) {}

  std::vector<Token> run() {
    while (at_ < source_.size()) text_and_tag();
    push(TokenKind::kEnd, source_.size(), 0);
    return std::move(tokens_);
  }

 private:
  [[noreturn]] void fail(size_t at, std::string message) const {
    throw SyntaxFault{static_cast<uint32_t>(at), std::move(message)};
  }
  bool starts_with(size_t at, std::string_view what) const { return source_.substr(at, what.size()) == what; }
  char peek(size_t at) const { return at < source_.size() ? source_[at] : '\0'; }
  void push(TokenKind kind, size_t at, size_t size) {
    tokens_.push_back({kind, static_cast<uint32_t>(at), source_.substr(at, size), {}});
  }
  size_t skip_space(size_t at) const {
    while (at < source_.size()) {
      const CodePoint c = decode(source_, at);
      if (!is_space(c.code)) break;
      at += c.n_bytes;
    }
    return at;
  }

  size_t find_tag(size_t from) const {
    for (size_t at = source_.find('{', from); at != std::string_view::npos; at = source_.find('{', at + 1)) {
      const char next = peek(at + 1);
      if (next == '{' || next == '%' || next == '#') return at;
    }
    return std::string_view::npos;
  }

  void text_and_tag() {
    const size_t begin = at_;
    const size_t tag = find_tag(begin);
    if (tag == std::string_view::npos) {
      push(TokenKind::kText, begin, source_.size() - begin);
      at_ = source_.size();
      return;
    }
    const char kind = source_[tag + 1];
    push_text(begin, tag, peek(tag + 2), kind != '{');
    const bool has_sign = peek(tag + 2) == '-' || peek(tag + 2) == '+';
    at_ = tag + 2 + (has_sign ? 1 : 0);
    if (kind == '#') return comment(tag);
    if (kind == '%' && raw(tag)) return;
    inside_tag(tag, kind == '%');
  }

  // The text before a tag. `sign` stands just inside the tag's opening; lstrip_blocks strips before statements only.
  void push_text(size_t begin, size_t end, char sign, bool is_block) {
    std::string_view text = source_.substr(begin, end - begin);
    if (sign == '-') {
      text = strip(text, false, true);
    } else if (sign != '+' && is_block) {
      const size_t line = text.rfind('\n') + 1;  // 0 when there is no line break
      if ((line > 0 || at_line_start_) && strip(text.substr(line), true, false).empty()) text = text.substr(0, line);
    }
    if (!text.empty()) push(TokenKind::kText, begin, text.size());
  }

  // Goes on behind the closing delimiter at `close`, whose `sign` is the character before it.
  void after_tag(size_t close, char sign, bool trims) {
    at_ = close + 2;
    if (sign == '-') {
      at_ = skip_space(at_);
    } else if (sign != '+' && trims && peek(at_) == '\n') {
      ++at_;
    }
    at_line_start_ = source_[at_ - 1] == '\n';
  }

  void comment(size_t tag) {
    const size_t close = source_.find("#}", at_);
    if (close == std::string_view::npos) fail(tag, "this comment is not closed");
    after_tag(close, close > at_ ? source_[close - 1] : '\0', true);
  }

  // The byte after `name` inside a tag that opens at `tag`, npos if the tag is another.
  size_t tag_named(size_t tag, std::string_view name) const {
    size_t at = tag + 2;
    if (peek(at) == '-' || peek(at) == '+') ++at;
    at = skip_space(at);
    return starts_with(at, name) ? skip_space(at + name.size()) : std::string_view::npos;
  }

  // {% raw %} ... {% endraw %}; false when the tag is no raw tag. No line end is removed after `raw %}`.
  bool raw(size_t tag) {
    const size_t name_end = tag_named(tag, "raw");
    if (name_end == std::string_view::npos) return false;
    const bool strips = starts_with(name_end, "-%}");
    if (!strips && !starts_with(name_end, "%}")) return false;
    after_tag(name_end + (strips ? 1 : 0), strips ? '-' : '\0', false);
    const size_t begin = at_;
    for (size_t end = source_.find("{%", begin); end != std::string_view::npos; end = source_.find("{%", end + 2)) {
      size_t close = tag_named(end, "endraw");
      if (close == std::string_view::npos) continue;
      const char sign = peek(close);
      if (sign == '-' || sign == '+') ++close;
      if (!starts_with(close, "%}")) continue;
      push_text(begin, end, peek(end + 2), true);
      after_tag(close, sign, true);
      return true;
    }
    fail(tag, "'raw' is not closed by 'endraw'");
  }

  void inside_tag(size_t tag, bool is_block) {
    push(is_block ? TokenKind::kBlockBegin : TokenKind::kVariableBegin, tag, 2);
    const std::string_view close = is_block ? "%}" : "}}";
    std::vector<char> open;
    while (true) {
      at_ = skip_space(at_);
      if (at_ >= source_.size()) fail(tag, fmt::format("this tag is not closed by '{}'", close));
      const char c = source_[at_];
      const bool signed_close = (c == '-' || (c == '+' && is_block)) && starts_with(at_ + 1, close);
      if (open.empty() && (signed_close || starts_with(at_, close))) {
        push(is_block ? TokenKind::kBlockEnd : TokenKind::kVariableEnd, at_, 2);
        return after_tag(at_ + (signed_close ? 1 : 0), c, is_block);
      }
      token(open);
    }
  }

  void token(std::vector<char>& open) {
    const char c = source_[at_];
    if (is_ascii_digit(c)) return number();
    if (c == '"' || c == '\'') return string(c);
    const CodePoint first = decode(source_, at_);
    if (is_word(first.code)) {
      const size_t begin = at_;
      while (at_ < source_.size() && is_word(decode(source_, at_).code)) at_ += decode(source_, at_).n_bytes;
      return push(TokenKind::kName, begin, at_ - begin);
    }
    for (const std::string_view two : {"//", "**", "==", "!=", ">=", "<="}) {
      if (!starts_with(at_, two)) continue;
      push(TokenKind::kOperator, at_, 2);
      at_ += 2;
      return;
    }
    if (std::string_view("+-/*%~[](){}><=.:|,;").find(c) == std::string_view::npos) {
      fail(at_, fmt::format("unexpected character '{}'", source_.substr(at_, first.n_bytes)));
    }
    bracket(c, open);
    push(TokenKind::kOperator, at_, 1);
    ++at_;
  }

  void bracket(char c, std::vector<char>& open) const {
    constexpr std::string_view kOpening = "([{";
    constexpr std::string_view kClosing = ")]}";
    if (const size_t which = kOpening.find(c); which != std::string_view::npos) open.push_back(kClosing[which]);
    if (kClosing.find(c) == std::string_view::npos) return;
    if (open.empty()) fail(at_, fmt::format("unexpected '{}'", c));
    if (open.back() != c) fail(at_, fmt::format("unexpected '{}', '{}' was open", c, open.back()));
    open.pop_back();
  }

  void number() {
    const size_t begin = at_;
    if (source_[begin] == '0') {
      const char base = static_cast<char>(peek(begin + 1) | 0x20);
      const std::string_view digits = base == 'x' ? "0123456789abcdefABCDEF" : base == 'o' ? "01234567" : "01";
      if (base == 'x' || base == 'o' || base == 'b') {
        const size_t n = digits_length(source_, begin + 2, digits);
        if (n > 0) return push_number(TokenKind::kInteger, begin + 2 + n);
      }
    }
    size_t end = begin + digits_length(source_, begin);
    const size_t integer_end = end;
    const bool after_dot = begin > 0 && source_[begin - 1] == '.';  // x.0.1 is two subscripts
    if (!after_dot && peek(end) == '.' && digits_length(source_, end + 1) > 0) {
      end += 1 + digits_length(source_, end + 1);
    }
    if (!after_dot && (peek(end) | 0x20) == 'e') {
      const size_t exponent = end + 1 + (peek(end + 1) == '+' || peek(end + 1) == '-' ? 1 : 0);
      if (digits_length(source_, exponent) > 0) end = exponent + digits_length(source_, exponent);
    }
    const bool is_integer = end == integer_end;
    const std::string_view digits = source_.substr(begin, end - begin);
    if (is_integer && digits[0] == '0' && digits.find_first_of("123456789") != std::string_view::npos) {
      fail(begin, "an integer must not start with 0");
    }
    push_number(is_integer ? TokenKind::kInteger : TokenKind::kFloat, end);
  }

  void push_number(TokenKind kind, size_t end) {
    push(kind, at_, end - at_);
    at_ = end;
  }

  void string(char quote) {
    const size_t begin = at_;
    for (++at_; at_ < source_.size() && source_[at_] != quote; ++at_) {
      if (source_[at_] == '\\') ++at_;
    }
    if (at_ >= source_.size()) fail(begin, "this string is not closed");
    ++at_;
    push(TokenKind::kString, begin, at_ - begin);
    std::string error;
    if (!decode_string_literal(source_.substr(begin + 1, at_ - begin - 2), tokens_.back().value, error))
      fail(begin, error);
  }

  std::string_view source_;
  size_t at_ = 0;
  bool at_line_start_ = true;
  std::vector<Token> tokens_;
};

}  // namespace

std::string normalized_source(std::string_view source) {
  std::string out;
  out.reserve(source.size());
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] != '\r') {
      out += source[i];
    } else {
      out += '\n';
      if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
    }
  }
  if (!out.empty() && out.back() == '\n') out.pop_back();
  return out;
}

std::vector<Token> tokenize(std::string_view source) { return Lexer(source).run(); }

}  // namespace stretto::jinja
