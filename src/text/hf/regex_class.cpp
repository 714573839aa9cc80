#include "text/hf/regex_class.h"

#include <fmt/format.h>

#include <optional>

#include "text/hf/characters.h"

namespace stretto::hf {
namespace {

constexpr char32_t kMaxCodePoint = 0x10FFFF;
constexpr std::string_view kHexDigits = "0-9A-Fa-f";

// Han characters of Unicode 15 and 15.1.
constexpr std::string_view kNewHan = R"(\x{2B739}\x{31350}-\x{323AF}\x{2EBF0}-\x{2EE5D})";

bool is_ascii_letter_or_digit(char32_t c) {
  return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

std::string property_items(std::string_view name) {
  return fmt::format("\\p{{{}}}{}", name, added_to_property(name).value_or(""));
}

// Hex digits, at least 1 and at most 8.
char32_t parse_hex(const RegexReader& reader, std::string_view digits) {
  char32_t value = 0;
  if (digits.empty() || digits.size() > 8) reader.invalid("a code point needs 1 to 8 hex digits");
  for (const char digit : digits) {
    const int nibble = digit >= '0' && digit <= '9'   ? digit - '0'
                       : digit >= 'a' && digit <= 'f' ? digit - 'a' + 10
                       : digit >= 'A' && digit <= 'F' ? digit - 'A' + 10
                                                      : -1;
    if (nibble < 0) reader.invalid(fmt::format("'{}' is no hex digit", printable(std::string_view(&digit, 1))));
    value = value << 4 | static_cast<char32_t>(nibble);
  }
  if (value > kMaxCodePoint || (value >= 0xD800 && value < 0xE000)) {
    reader.invalid(fmt::format("U+{:04X} is no character", static_cast<uint32_t>(value)));
  }
  return value;
}

std::string_view take_digits(RegexReader& reader, std::string& storage, size_t n) {
  storage.clear();
  for (size_t i = 0; i < n; ++i) append_utf8(storage, reader.take_character());
  return storage;
}

// `[:name:]`, reader behind "[:".
CharacterSet read_posix_set(RegexReader& reader, bool caseless) {
  const bool negated = reader.take("^");
  const std::string_view name = reader.take_until(':');
  if (!reader.take("]")) reader.unsupported("'[:' that opens no POSIX class");
  CharacterSet set;
  if (name == "space") {
    set = white_space_set();
  } else if (name == "digit") {
    set.add_items(property_items("Nd"));
  } else if (name == "xdigit") {
    set.add_items(kHexDigits);
  } else if (name == "word" && !caseless) {
    set = word_set();
  } else {
    reader.unsupported(fmt::format("class [:{}:]", printable(name, 20)));
  }
  if (negated) set.complement();
  return set;
}

void append_range(std::string& out, char32_t first, char32_t last) {
  append_literal(out, first);
  if (first == last) return;
  out.push_back('-');
  append_literal(out, last);
}

// One operand of &&: items up to "&&" or the closing bracket.
class ClassReader {
 public:
  ClassReader(RegexReader& reader, bool caseless) : reader_(reader), caseless_(caseless) {}

  CharacterSet read() {
    bool first = true;
    bool after_set = false;
    while (!reader_.next_is("]") && !reader_.next_is("&&")) {
      if (take_dash(first || after_set)) {
        first = after_set = false;
        continue;
      }
      first = false;
      after_set = read_item();
    }
    return set_;
  }

 private:
  // A dash that stands for itself.
  bool take_dash(bool may_be_literal) {
    if (!reader_.take("-")) return false;
    if (!may_be_literal && !reader_.next_is("]")) reader_.unsupported("'-' behind a range");
    if (reader_.next_is("-")) reader_.unsupported("a range from '-'");
    set_.add_items("\\-");
    return true;
  }

  // One character, range or set; true if it was a set.
  bool read_item() {
    if (reader_.take("[:")) {
      set_.add(read_posix_set(reader_, caseless_));
      return true;
    }
    if (reader_.take("[")) {
      set_.add(read_class(reader_, caseless_));
      return true;
    }
    const std::optional<char32_t> first = read_character();
    if (!first) return true;
    char32_t last = *first;
    const size_t dash = reader_.position();
    if (reader_.take("-")) {
      if (reader_.next_is("]") || reader_.next_is("&&")) {
        reader_.rewind(dash);
      } else {
        if (reader_.next_is("[")) reader_.unsupported("a range to a class");
        const std::optional<char32_t> end = read_character();
        if (!end) reader_.unsupported("a range to a class");
        last = *end;
      }
    }
    if (last < *first) reader_.invalid("a range that ends before it begins");
    if (caseless_) {
      require_same_case(reader_, *first);
      require_same_case(reader_, last);
      if (last != *first && last > 0x7F) reader_.unsupported("a caseless range beyond ASCII");
    }
    std::string items;
    append_range(items, *first, last);
    set_.add_items(items);
    return false;
  }

  // A character; an escaped set is added and gives nothing.
  std::optional<char32_t> read_character() {
    const char32_t c = reader_.take_character();
    if (c != '\\') return c;
    const char32_t letter = reader_.take_character();
    if (letter == 'b') return 0x08;
    const CharacterSet set = read_set_escape(reader_, letter, caseless_);
    if (set.empty()) return read_character_escape(reader_, letter);
    set_.add(set);
    return std::nullopt;
  }

  RegexReader& reader_;
  bool caseless_;
  CharacterSet set_;
};

}  // namespace

void CharacterSet::add(const CharacterSet& set) {
  if (set.negated_ || (set.items_.empty() && !set.others_.empty())) {
    others_.push_back(set.pattern());
    return;
  }
  items_ += set.items_;
  others_.insert(others_.end(), set.others_.begin(), set.others_.end());
}

void CharacterSet::intersect(const CharacterSet& other) {
  std::string both = fmt::format("(?:(?={}){})", other.pattern(), pattern());
  *this = CharacterSet();
  others_.push_back(std::move(both));
}

std::string CharacterSet::pattern() const {
  if (others_.empty()) return fmt::format("[{}{}]", negated_ ? "^" : "", items_);
  std::string any;
  if (!items_.empty()) any = fmt::format("[{}]", items_);
  for (const std::string& other : others_) {
    if (!any.empty()) any.push_back('|');
    any += other;
  }
  return negated_ ? fmt::format("(?:(?!{})(?s:.))", any) : fmt::format("(?:{})", any);
}

CharacterSet white_space_set() {
  CharacterSet set;
  set.add_items(kWhiteSpaceRanges);
  return set;
}

CharacterSet word_set() {
  CharacterSet set;
  for (const std::string_view property : {"L", "M", "Nd"}) set.add_items(property_items(property));
  set.add_items(R"(\p{Nl}\p{Pc}\x{24B6}-\x{24E9}\x{1F130}-\x{1F149}\x{1F150}-\x{1F169}\x{1F170}-\x{1F189})");
  set.add_items(R"(\xB2\xB3\xB9\xBC-\xBE)");
  return set;
}

CharacterSet property_set(const RegexReader& reader, std::string_view name) {
  CharacterSet set;
  if (added_to_property(name)) {
    set.add_items(property_items(name));
    return set;
  }
  if (name.size() < 3) reader.unsupported(fmt::format("property {}", printable(name, 20)));
  for (const char c : name) {
    if (!is_ascii_letter_or_digit(static_cast<unsigned char>(c)) && c != '_') {
      reader.unsupported(fmt::format("property {}", printable(name, 20)));
    }
  }
  // Longer names are scripts: whatever is none does not compile. Plain \p{Han} would be Script_Extensions.
  set.add_items(fmt::format("\\p{{sc:{}}}", name));
  if (name == "Han") set.add_items(kNewHan);
  return set;
}

CharacterSet read_set_escape(RegexReader& reader, char32_t letter, bool caseless) {
  CharacterSet set;
  switch (letter) {
    case 's':
    case 'S':
      set = white_space_set();
      break;
    case 'd':
    case 'D':
      set.add_items(property_items("Nd"));
      break;
    case 'h':
    case 'H':
      set.add_items(kHexDigits);
      break;
    case 'w':
    case 'W':
      if (caseless) reader.unsupported("\\w under (?i)");
      set = word_set();
      break;
    case 'p':
    case 'P': {
      if (!reader.take("{")) reader.unsupported("\\p without braces");
      const bool negated = reader.take("^");
      set = property_set(reader, reader.take_until('}'));
      if (caseless) reader.unsupported("\\p{..} under (?i)");
      if (negated != (letter == 'P')) set.complement();
      return set;
    }
    default:
      return set;
  }
  if (letter < 'a') set.complement();
  return set;
}

CharacterSet read_class(RegexReader& reader, bool caseless) {
  const RegexReader::Nesting nesting(reader);
  const bool negated = reader.take("^");
  if (reader.next_is("]")) reader.unsupported("a class that begins with ']'");
  CharacterSet set = ClassReader(reader, caseless).read();
  while (reader.take("&&")) {
    const CharacterSet other = ClassReader(reader, caseless).read();
    if (set.empty() || other.empty()) reader.unsupported("&& without two classes");
    set.intersect(other);
  }
  if (!reader.take("]")) reader.invalid("a class does not end");
  if (negated) set.complement();
  return set;
}

char32_t read_character_escape(RegexReader& reader, char32_t letter) {
  switch (letter) {
    case 't':
      return '\t';
    case 'n':
      return '\n';
    case 'r':
      return '\r';
    case 'f':
      return '\f';
    case 'v':
      return '\v';
    case 'a':
      return '\a';
    case 'e':
      return 0x1B;
    default:
      break;
  }
  std::string storage;
  if (letter == 'u') return parse_hex(reader, take_digits(reader, storage, 4));
  if (letter == 'x') {
    if (reader.take("{")) return parse_hex(reader, reader.take_until('}'));
    const char32_t c = parse_hex(reader, take_digits(reader, storage, 2));
    if (c > 0x7F) reader.unsupported("\\xHH above 7F, a byte,");
    return c;
  }
  if (is_ascii_letter_or_digit(letter)) reader.unsupported(fmt::format("\\{}", static_cast<char>(letter)));
  return letter;
}

void require_same_case(const RegexReader& reader, char32_t c) {
  if (c > 0x7F && has_case(c)) {
    reader.unsupported(fmt::format("U+{:04X} under (?i)", static_cast<uint32_t>(c)));
  }
}

void append_literal(std::string& out, char32_t c) {
  if (is_ascii_letter_or_digit(c) || c == ' ') {
    out.push_back(static_cast<char>(c));
  } else if (c > 0x20 && c < 0x7F) {
    out.push_back('\\');
    out.push_back(static_cast<char>(c));
  } else {
    out += fmt::format("\\x{{{:X}}}", static_cast<uint32_t>(c));
  }
}

}  // namespace stretto::hf
