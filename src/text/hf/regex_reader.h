// The position in a regular expression that is being translated, and how its errors are worded.
#pragma once

#include <string>
#include <string_view>

#include "base/error.h"
#include "checkpoint/utf8.h"
#include "text/utf8.h"

namespace stretto::hf {

class RegexReader {
 public:
  static constexpr int kMaxNesting = 100;

  RegexReader(std::string_view pattern, std::string_view path) : pattern_(pattern), path_(path) {}

  bool done() const { return at_ == pattern_.size(); }
  bool next_is(std::string_view text) const { return pattern_.substr(at_, text.size()) == text; }
  bool take(std::string_view text) {
    if (!next_is(text)) return false;
    at_ += text.size();
    return true;
  }
  // The next code point.
  char32_t take_character() {
    if (done()) invalid("it ends in the middle");
    const size_t length = utf8_length_at(pattern_, at_);
    const char32_t c = utf8_code_point(pattern_, at_, length);
    at_ += length;
    return c;
  }
  char32_t peek() {
    const size_t before = at_;
    const char32_t c = take_character();
    at_ = before;
    return c;
  }
  // What stands before `end`, which is taken too.
  std::string_view take_until(char end) {
    const size_t stop = pattern_.find(end, at_);
    if (stop == std::string_view::npos) invalid(fmt::format("'{}' is missing", end));
    const std::string_view text = pattern_.substr(at_, stop - at_);
    at_ = stop + 1;
    return text;
  }
  size_t position() const { return at_; }
  void rewind(size_t position) { at_ = position; }

  [[noreturn]] void invalid(std::string_view what) const { stop(ErrorKind::kInvalidModel, what); }
  [[noreturn]] void unsupported(std::string_view what) const {
    stop(ErrorKind::kUnsupported, fmt::format("{} is not supported", what));
  }

  // Counts open groups and classes, so that no pattern can overflow the stack.
  class Nesting {
   public:
    explicit Nesting(RegexReader& reader) : reader_(reader) {
      if (++reader_.depth_ > kMaxNesting) reader_.invalid(fmt::format("nested deeper than {} levels", kMaxNesting));
    }
    ~Nesting() { --reader_.depth_; }
    Nesting(const Nesting&) = delete;
    Nesting& operator=(const Nesting&) = delete;

   private:
    RegexReader& reader_;
  };

 private:
  [[noreturn]] void stop(ErrorKind kind, std::string_view what) const {
    throw Error(kind,
                fmt::format("{}: regular expression '{}', byte {}: {}", path_, printable(pattern_, 200), at_, what));
  }

  std::string_view pattern_;
  std::string_view path_;
  size_t at_ = 0;
  int depth_ = 0;
};

}  // namespace stretto::hf
