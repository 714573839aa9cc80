// Added tokens of tokenizer.json: their ids, their flags, and how they are cut out of a text.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/flat_map.h"
#include "text/hf/bpe_model.h"
#include "text/hf/json_fields.h"
#include "text/hf/normalizer.h"
#include "text/special_tokens.h"

namespace stretto::hf {

struct AddedToken {
  std::string content;
  bool single_word = false;  // only where no word character stands next to it
  bool lstrip = false;       // takes the blanks before it along
  bool rstrip = false;       // and those after it
  bool normalized = false;   // its normal form is looked for in normalized text
  bool special = false;
  std::optional<uint64_t> declared_id;
  std::string path;  // where it comes from, for messages
  int32_t id = -1;
};

// The list `added_tokens` of a tokenizer.json (absent: empty).
std::vector<AddedToken> read_added_tokens(Fields& tokenizer, Warnings& warnings);

// One entry {content, lstrip, ...}; `required`: all five flags must be there, else they default to false.
AddedToken read_added_token(Fields& fields, bool required);

// Gives ids: a text seen before keeps its id and takes the new flags, a text of the model has its id there, any other
// gets the next number. The result holds every text once. Throws Error(kInvalidModel) when a new id is taken.
std::vector<AddedToken> assign_ids(std::vector<AddedToken> tokens, const BpeModel& model, Warnings& warnings);

// Finds the tokens of one set. Thread-safe.
class AddedTokenScanner {
 public:
  struct Pattern {
    std::string text;  // what is looked for
    int32_t id;
    bool single_word, lstrip, rstrip, special;
  };

  // Of equal texts the lowest id counts. Throws Error(kInvalidModel) for more than 4 MiB of texts.
  explicit AddedTokenScanner(std::vector<Pattern> patterns);

  bool empty() const { return patterns_.empty(); }
  // Appends the fragments of text[range): tokens, and the raw text between them (never empty). Matches are
  // leftmost-longest and do not overlap; a match whose token is refused (special without `parse_special`, a word
  // character next to single_word) is passed over. Blanks after an rstrip token belong to no fragment, unless a
  // token matches in them: then the text behind that token counts again.
  void scan(std::string_view text, bool parse_special, std::vector<Fragment>& fragments) const;

 private:
  struct Match {
    size_t end;
    int32_t pattern;  // -1: none
  };
  Match longest_at(std::string_view text, size_t at) const;
  uint32_t child(uint32_t node, uint8_t byte) const;

  std::vector<Pattern> patterns_;
  // Trie: node 0 is the root, its edges are an array, the others (node << 8 | byte) -> node.
  std::vector<uint32_t> root_;
  FlatMap<uint32_t> edges_;
  std::vector<int32_t> ends_;  // [nodes]: the pattern that ends there, or -1
};

}  // namespace stretto::hf
