// Streams of token pieces as text that is safe to show: no character is split, invalid UTF-8 is replaced, and stop
// strings are found across token borders.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace stretto {

// One per generated text. Holds back at most 3 bytes.
class Detokenizer {
 public:
  struct Chunk {
    std::string bytes;  // as the tokens spell them
    std::string text;   // the same with U+FFFD for what is invalid: always valid UTF-8
  };

  // `piece` as Tokenizer::piece() gives it. The chunk ends at a character border, as far as further bytes could tell.
  Chunk push(std::string_view piece);
  // What was held back: the beginning of a character that never ended, each byte as U+FFFD in `text`.
  Chunk finish();

 private:
  std::string pending_;
};

// Looks for stop strings in a stream of valid text, which arrives in parts of any size. The match that is complete
// first ends the text (of several that end at the same byte the longest), so the result does not depend on the parts.
class StopMatcher {
 public:
  // Throws Error(kBadArgument) for an empty stop string.
  explicit StopMatcher(std::vector<std::string> stop_strings);

  // Appends `text`; returns what can be shown now. Held back is only the longest tail that begins a stop string. Once
  // stopped() nothing more is returned.
  std::string push(std::string_view text);
  // What was held back: no stop string came of it.
  std::string finish();

  bool stopped() const { return found_.has_value(); }
  // Index of the stop string that was found.
  std::optional<size_t> found() const { return found_; }

 private:
  struct Stop {
    std::string text;
    std::vector<uint32_t> border;  // [size]: length of the longest proper border of the first i + 1 bytes
    uint32_t matched = 0;          // length of the longest prefix of `text` that the stream ends in
  };

  std::vector<Stop> stops_;
  std::string held_;
  std::optional<size_t> found_;
};

}  // namespace stretto
