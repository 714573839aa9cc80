// Cuts special tokens out of a text before the tokenizer proper sees it.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "text/flat_map.h"
#include "text/token_table.h"

namespace stretto {

// A stretch of the input: one special token, or raw bytes (id -1).
struct Fragment {
  uint32_t begin;  // byte offsets
  uint32_t end;
  int32_t id;
};

// Candidates are the control, unknown and user-defined tokens, in order of decreasing byte length (ties: lower id).
// Each claims all its occurrences, leftmost first, in what the candidates before it left over. That is not a
// leftmost-longest scan: with tokens "ab" and "bcd", "abcd" is a, bcd.
class SpecialTokens {
 public:
  // `table` must outlive this object. Throws Error(kInvalidModel) for more than 4 MiB of special tokens.
  explicit SpecialTokens(const TokenTable& table);

  // The fragments of `text` (at most UINT32_MAX bytes), in order, raw ones never empty. Without `parse_special` control
  // and unknown tokens are left in the raw text; user-defined ones are always cut out. Blanks that a token swallows
  // belong to no fragment.
  std::vector<Fragment> partition(std::string_view text, bool parse_special) const;

 private:
  struct Candidate {
    int32_t id;
    bool always;    // user-defined
    bool swallows;  // the ASCII whitespace after it
  };
  struct End {  // the first candidate whose text ends at a trie node, or -1: of all, and of the user-defined ones
    int32_t any = -1;
    int32_t user_defined = -1;
  };

  uint32_t insert(std::string_view text);
  std::vector<uint32_t> find_present(std::string_view text, bool parse_special) const;
  void claim(std::string_view text, const Candidate& candidate, std::vector<Fragment>& fragments) const;

  const Vocabulary& vocabulary_;
  std::vector<Candidate> candidates_;  // in order of precedence
  // Trie of the candidates' texts: node 0 is the root, its edges are an array, the others (node << 8 | byte) -> node.
  std::vector<uint32_t> root_;  // [256]
  FlatMap<uint32_t> edges_;
  std::vector<End> ends_;  // per node
};

}  // namespace stretto
