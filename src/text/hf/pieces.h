// A text on its way through a pre-tokenizer: the pieces it is cut into so far, and the working memory of the steps.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "text/hf/pattern.h"
#include "text/pretokenizer.h"

namespace stretto::hf {

struct Pieces {
  std::string_view text;        // valid UTF-8: the fragment, or what a step has made of it (then it is `owned`)
  std::vector<Span> spans;      // of `text`, not empty, in order; what a step removed lies between them
  bool at_input_start = false;  // the fragment begins where the whole input begins
  std::string owned;
  std::string rewritten;
  std::vector<Span> next_spans;
  std::vector<MatchRange> ranges;

  std::string_view piece(Span span) const { return text.substr(span.begin, span.length); }
  // Begins with the whole fragment as one piece.
  void reset(std::string_view fragment, bool is_input_start);
  // `rewritten` and `next_spans` become the text and its pieces.
  void take_rewritten();
};

enum class SplitBehavior { kRemoved, kIsolated, kMergedWithPrevious, kMergedWithNext, kContiguous };

// Cuts a piece along the ranges that cover it (offsets from the piece's begin) and appends what is not empty.
void append_split(const std::vector<MatchRange>& ranges, SplitBehavior behavior, Span piece, std::vector<Span>& out);

// Fills pieces.ranges for one piece.
using FindRanges = std::function<void(std::string_view piece, std::vector<MatchRange>& ranges)>;

// Cuts every piece.
void split_pieces(Pieces& pieces, SplitBehavior behavior, bool invert, const FindRanges& find);

}  // namespace stretto::hf
