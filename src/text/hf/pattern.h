// What a step of a tokenizer.json looks for: a literal text or a regular expression.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "text/hf/json_fields.h"
#include "text/object_pool.h"

namespace stretto::hf {

// A byte range of a text that is cut into matches and what lies between them.
struct MatchRange {
  uint32_t begin;
  uint32_t end;
  bool is_match;
};

// A compiled PCRE2 expression. Thread-safe.
class Regex {
 public:
  // `pcre2_pattern` in the form of translate_regex(); `path` names its place. Throws Error(kUnsupported) if PCRE2
  // does not take it.
  Regex(const std::string& pcre2_pattern, std::string_view path);
  ~Regex();
  Regex(const Regex&) = delete;
  Regex& operator=(const Regex&) = delete;

  // Appends the ranges of `text`, which is valid UTF-8. Empty matches count, except right at the end of a match.
  // Where PCRE2 gives up (match or heap limit) the rest is one stretch without match, with a line in `warnings`.
  void append_matches(std::string_view text, std::vector<MatchRange>& ranges, Warnings* warnings) const;

 private:
  struct Code;
  struct Matcher;

  std::unique_ptr<Code> code_;
  std::string path_;
  mutable ObjectPool<Matcher> matchers_;
};

class Pattern {
 public:
  static Pattern literal(std::string text);
  static Pattern regex(std::string_view oniguruma_pattern, std::string_view path);
  // {"String": text} or {"Regex": pattern} under `key`.
  static Pattern read(Fields& fields, std::string_view key);

  // Replaces `ranges` by those of `text`: they cover it, matches may be empty, stretches between matches are not.
  void find(std::string_view text, std::vector<MatchRange>& ranges, Warnings* warnings) const;
  // Replaces `out` by `text` with every match as `content`. Throws Error(kBadArgument) for a result above 1 GiB.
  void replace(std::string_view text, std::string_view content, std::string& out, Warnings* warnings) const;
  bool is_empty_literal() const { return regex_ == nullptr && literal_.empty(); }

 private:
  std::string literal_;
  std::unique_ptr<const Regex> regex_;  // null: the literal
};

// Texts may grow on their way through a pipeline. Throws Error(kBadArgument) above 1 GiB.
void require_text_size(size_t bytes);

}  // namespace stretto::hf
