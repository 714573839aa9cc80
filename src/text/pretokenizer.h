// Pre-tokenizers: ordered lists of regular expressions that cut a text into the pieces inside which byte-pair merges
// happen. Each expression splits every segment of the pass before it; matches and the stretches between matches become
// segments, so the concatenation of the pieces is always the input. Every segment is its own regex subject.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "text/object_pool.h"

namespace stretto {

// A pattern list of shared meaning; several names in files stand for one family.
enum class PreFamily {
  kLlama3,
  kQwen2,
  kQwen35,
  kGpt2,
  kStarcoder,
  kFalcon,
  kDefault,
  kDeepseekCoder,
  kDeepseekLlm,
  kDeepseekV3,
  kTekken,
  kGpt4o,
  kGemma4,
  kSeedCoder,
  kBailingMoe,
  kMiniCpm5,
  kExaoneMoe,
  kLaguna,
  kPoro,
  kViking,
  kKimiK2,
};

// What a name in tokenizer.ggml.pre stands for.
struct PreRule {
  std::string_view name;
  PreFamily family;
  bool ignore_merges = false;  // a piece that is a token is taken as it is
  bool adds_bos = false;       // default of add_bos_token
  bool raw_utf8 = false;       // the vocabulary is spelled in UTF-8 with U+2581 for a space, not in the byte alphabet
  bool newline_rule = false;   // raw_utf8: a run of newlines that is a token is taken as it is
};

const PreRule* find_pre_rule(std::string_view name);  // nullptr: unknown
std::string known_pre_names();                        // comma-separated, for messages

// The PCRE2 patterns of a family, one per pass.
std::vector<std::string> pre_patterns(PreFamily family);

// Byte range of a piece.
struct Span {
  uint32_t begin;
  uint32_t length;
};

// Thread-safe.
class PreTokenizer {
 public:
  // Throws Error(kInternal) if a pattern does not compile.
  explicit PreTokenizer(const std::vector<std::string>& patterns);
  ~PreTokenizer();
  PreTokenizer(const PreTokenizer&) = delete;
  PreTokenizer& operator=(const PreTokenizer&) = delete;

  // Replaces `pieces` by those of `text`: valid UTF-8 of at most UINT32_MAX bytes. A segment on which PCRE2 gives up
  // (match, depth or heap limit) stays whole from there on, with a line in `warnings` if that is not null.
  void split(std::string_view text, std::vector<Span>& pieces, std::vector<std::string>* warnings) const;

 private:
  struct Pattern;
  struct Matcher;

  void split_segment(const Pattern& pattern, Matcher& matcher, std::string_view text, Span segment,
                     std::vector<Span>& out, std::vector<std::string>* warnings) const;

  std::vector<Pattern> patterns_;
  mutable ObjectPool<Matcher> matchers_;
};

}  // namespace stretto
