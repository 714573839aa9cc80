#include "text/hf/regex_translation.h"

#include <fmt/format.h>

#include <optional>

#include "text/hf/regex_class.h"
#include "text/hf/regex_reader.h"

namespace stretto::hf {
namespace {

constexpr uint32_t kMaxRepeat = 65535;  // of PCRE2

struct Options {
  bool caseless = false;
  bool dot_all = false;
};

// What a term is decides how it may go on.
enum class TermKind {
  kAnchor,       // takes no quantifier
  kAtom,         // takes one
  kRestOfGroup,  // has swallowed the alternatives behind it
};

struct Term {
  TermKind kind;
  std::string text;
  char32_t literal;  // of a caseless letter, else 0
};

// Pairs of ASCII letters that one character folds to (ß, ﬀ, ﬁ, ﬂ, ﬆ): Oniguruma lets a caseless "ss" match "ß".
bool is_folded_pair(char32_t first, char32_t second) {
  const auto lower = [](char32_t c) { return c >= 'A' && c <= 'Z' ? c + 32 : c; };
  const char32_t a = lower(first);
  const char32_t b = lower(second);
  return (a == 's' && (b == 's' || b == 't')) || (a == 'f' && (b == 'f' || b == 'i' || b == 'l'));
}

class Translator {
 public:
  Translator(std::string_view pattern, std::string_view path) : reader_(pattern, path) {}

  std::string translate() {
    std::string out = read_alternatives({});
    if (!reader_.done()) reader_.invalid("')' without '('");
    return out;
  }

 private:
  // Up to the end of the group or pattern; a ')' is left.
  std::string read_alternatives(Options options) {
    const RegexReader::Nesting nesting(reader_);
    std::string out = read_branch(options);
    while (reader_.take("|")) {
      out.push_back('|');
      out += read_branch(options);
    }
    return out;
  }

  std::string read_branch(Options options) {
    std::string out;
    char32_t previous = 0;
    while (!reader_.done() && !reader_.next_is("|") && !reader_.next_is(")")) {
      Term term = read_term(options);
      if (previous != 0 && term.literal != 0 && is_folded_pair(previous, term.literal)) {
        reader_.unsupported("a pair of letters under (?i) that one character folds to");
      }
      previous = term.literal;
      if (term.kind != TermKind::kRestOfGroup) read_quantifiers(term);
      out += term.text;
    }
    return out;
  }

  Term read_term(Options options) {
    const char32_t c = reader_.take_character();
    switch (c) {
      case '(':
        return read_group(options);
      case '[':
        return {TermKind::kAtom, read_class(reader_, options.caseless).pattern(), 0};
      case '.':
        return {TermKind::kAtom, options.dot_all ? "(?s:.)" : ".", 0};
      case '^':  // at every line, not behind a newline that ends the text
        return {TermKind::kAnchor, "(?m:^)", 0};
      case '$':
        return {TermKind::kAnchor, R"((?=\n|\z))", 0};
      case '\\':
        return read_escape(options);
      case '*':
      case '+':
      case '?':
        reader_.invalid("a quantifier with nothing before it");
      default:
        return literal(c, options);
    }
  }

  Term literal(char32_t c, Options options) {
    Term term{TermKind::kAtom, {}, 0};
    if (options.caseless) {
      require_same_case(reader_, c);
      term.literal = c;
    }
    append_literal(term.text, c);
    return term;
  }

  Term read_escape(Options options) {
    const char32_t letter = reader_.take_character();
    switch (letter) {
      case 'A':
      case 'z':
      case 'Z':
      case 'G':
      case 'K':
        return {TermKind::kAnchor, fmt::format("\\{}", static_cast<char>(letter)), 0};
      case 'R':
      case 'X':
      case 'N':
        return {TermKind::kAtom, fmt::format("\\{}", static_cast<char>(letter)), 0};
      case 'b':
      case 'B': {
        if (options.caseless) reader_.unsupported("\\b under (?i)");
        const std::string word = word_set().pattern();
        return {TermKind::kAnchor,
                letter == 'b' ? fmt::format("(?:(?<={0})(?!{0})|(?<!{0})(?={0}))", word)
                              : fmt::format("(?:(?<={0})(?={0})|(?<!{0})(?!{0}))", word),
                0};
      }
      default:
        break;
    }
    const CharacterSet set = read_set_escape(reader_, letter, options.caseless);
    if (!set.empty()) return {TermKind::kAtom, set.pattern(), 0};
    return literal(read_character_escape(reader_, letter), options);
  }

  // Behind '('. Groups capture nothing: back references are refused.
  Term read_group(Options options) {
    if (!reader_.take("?")) return finish_group(TermKind::kAtom, "(?:", options);
    for (const std::string_view look : {"=", "!", "<=", "<!"}) {
      if (reader_.take(look)) return finish_group(TermKind::kAnchor, fmt::format("(?{}", look), options);
    }
    if (reader_.take(">")) return finish_group(TermKind::kAtom, "(?>", options);
    const bool old_case = options.caseless;
    bool value = true;
    while (!reader_.next_is(":") && !reader_.next_is(")")) {
      const char32_t c = reader_.take_character();
      if (c == '-') {
        value = false;
      } else if (c == 'i') {
        options.caseless = value;
      } else if (c == 'm') {
        options.dot_all = value;
      } else {
        reader_.unsupported("this kind of '(?' group");
      }
    }
    const std::string opening = options.caseless == old_case ? "(?:" : options.caseless ? "(?i:" : "(?-i:";
    if (reader_.take(":")) return finish_group(TermKind::kAtom, opening, options);
    reader_.take(")");
    // "a(?i)b|c" is "a(?i:b|c)" there and "a(?i:b)|(?i:c)" in PCRE2.
    return {TermKind::kRestOfGroup, opening + read_alternatives(options) + ")", 0};
  }

  Term finish_group(TermKind kind, std::string_view opening, Options options) {
    std::string text(opening);
    text += read_alternatives(options);
    if (!reader_.take(")")) reader_.invalid("')' is missing");
    text.push_back(')');
    return {kind, std::move(text), 0};
  }

  // Everything that repeats `term`. A quantifier on a quantified term repeats the repeat.
  void read_quantifiers(Term& term) {
    bool quantified = false;
    for (std::string quantifier = read_quantifier(); !quantifier.empty(); quantifier = read_quantifier()) {
      if (term.kind == TermKind::kAnchor) reader_.unsupported("a quantifier on a position");
      if (quantified) term.text = fmt::format("(?:{})", term.text);
      term.text += quantifier;
      term.literal = 0;
      quantified = true;
    }
  }

  // The next quantifier with its greediness, or nothing.
  std::string read_quantifier() {
    for (const std::string_view simple : {"?", "*", "+"}) {
      if (!reader_.take(simple)) continue;
      std::string out(simple);
      if (reader_.take("+")) return out + "+";
      if (reader_.take("?")) return out + "?";
      return out;
    }
    return read_interval();
  }

  // "{n}", "{n,}", "{,m}", "{n,m}"; any other "{" is a literal. Behind these a "+" is a quantifier of its own.
  std::string read_interval() {
    const size_t before = reader_.position();
    if (!reader_.take("{")) return {};
    const std::optional<uint32_t> low = read_number();
    const bool comma = reader_.take(",");
    const std::optional<uint32_t> high = comma ? read_number() : low;
    if (!reader_.take("}") || (!low && !high)) {
      reader_.rewind(before);
      return {};
    }
    if (low && high && *low > *high) reader_.unsupported("an interval {n,m} with n > m");
    std::string out = fmt::format("{{{}", low.value_or(0));
    if (comma) out += high ? fmt::format(",{}", *high) : ",";
    out.push_back('}');
    if (reader_.next_is("?")) {
      if (!comma) reader_.unsupported("'{n}?'");
      reader_.take("?");
      out.push_back('?');
    }
    return out;
  }

  std::optional<uint32_t> read_number() {
    std::optional<uint32_t> number;
    while (!reader_.done()) {
      const char32_t c = reader_.peek();
      if (c < '0' || c > '9') break;
      reader_.take_character();
      number = number.value_or(0) * 10 + static_cast<uint32_t>(c - '0');
      if (*number > kMaxRepeat) reader_.unsupported(fmt::format("more than {} repeats", kMaxRepeat));
    }
    return number;
  }

  RegexReader reader_;
};

}  // namespace

std::string translate_regex(std::string_view pattern, std::string_view path) {
  if (pattern.size() > kMaxPatternBytes) {
    fail(ErrorKind::kInvalidModel, "{} has {} bytes, at most {} are allowed", path, pattern.size(), kMaxPatternBytes);
  }
  return Translator(pattern, path).translate();
}

}  // namespace stretto::hf
