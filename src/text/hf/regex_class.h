// Bracket expressions of regular expressions: sets of code points, as PCRE2 text that matches one character.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "text/hf/regex_reader.h"

namespace stretto::hf {

// One set. PCRE2 brackets hold plain items only: complements and intersections inside a set become alternatives and
// look-aheads.
class CharacterSet {
 public:
  // Text for the inside of brackets: ranges, \p{..}.
  void add_items(std::string_view items) { items_ += items; }
  void add(const CharacterSet& set);
  // The set is what it was and in `other` too.
  void intersect(const CharacterSet& other);
  void complement() { negated_ = !negated_; }
  bool empty() const { return items_.empty() && others_.empty(); }

  // A pattern that matches exactly one character of the set.
  std::string pattern() const;

 private:
  std::string items_;
  std::vector<std::string> others_;  // patterns of one character
  bool negated_ = false;
};

// White_Space, word characters (as \w), and \p{name} of Unicode 16 (not empty where it is known; scripts are left to
// PCRE2 to know).
CharacterSet white_space_set();
CharacterSet word_set();
CharacterSet property_set(const RegexReader& reader, std::string_view name);

// The set that an escape stands for: reader is behind `\` + `letter`. Returns an empty set for other letters.
CharacterSet read_set_escape(RegexReader& reader, char32_t letter, bool caseless);

// A class, from behind its `[` to behind its `]`.
CharacterSet read_class(RegexReader& reader, bool caseless);

// The code point of `\` + `letter`, reader behind both: \n, \x41, \u00e9, escaped punctuation. Refuses others.
char32_t read_character_escape(RegexReader& reader, char32_t letter);

// Refuses a letter whose caseless matches are not the same in both libraries.
void require_same_case(const RegexReader& reader, char32_t c);

// Appends a literal, escaped for the inside or the outside of brackets.
void append_literal(std::string& out, char32_t c);

}  // namespace stretto::hf
