#include "text/hf/pieces.h"

#include <algorithm>

#include "base/check.h"

namespace stretto::hf {

void Pieces::reset(std::string_view fragment, bool is_input_start) {
  CHECK(fragment.size() <= UINT32_MAX);
  text = fragment;
  at_input_start = is_input_start;
  spans.clear();
  if (!fragment.empty()) spans.push_back({0, static_cast<uint32_t>(fragment.size())});
}

void Pieces::take_rewritten() {
  owned.swap(rewritten);
  text = owned;
  spans.swap(next_spans);
}

void append_split(const std::vector<MatchRange>& ranges, SplitBehavior behavior, Span piece, std::vector<Span>& out) {
  const size_t first_out = out.size();
  const auto span_of = [&](const MatchRange& range) {
    return Span{piece.begin + range.begin, range.end - range.begin};
  };
  bool previous = false;
  switch (behavior) {
    case SplitBehavior::kIsolated:
      for (const MatchRange& range : ranges) out.push_back(span_of(range));
      break;
    case SplitBehavior::kRemoved:
      for (const MatchRange& range : ranges) {
        if (!range.is_match) out.push_back(span_of(range));
      }
      break;
    case SplitBehavior::kMergedWithPrevious:
      for (const MatchRange& range : ranges) {
        if (range.is_match && !previous && out.size() > first_out) {
          out.back().length += range.end - range.begin;
        } else {
          out.push_back(span_of(range));
        }
        previous = range.is_match;
      }
      break;
    case SplitBehavior::kMergedWithNext:
      for (auto range = ranges.rbegin(); range != ranges.rend(); ++range) {
        if (range->is_match && !previous && out.size() > first_out) {
          out.back().begin = piece.begin + range->begin;
          out.back().length += range->end - range->begin;
        } else {
          out.push_back(span_of(*range));
        }
        previous = range->is_match;
      }
      std::reverse(out.begin() + static_cast<std::ptrdiff_t>(first_out), out.end());
      break;
    case SplitBehavior::kContiguous:
      for (const MatchRange& range : ranges) {
        if (range.is_match == previous && out.size() > first_out) {
          out.back().length += range.end - range.begin;
        } else {
          out.push_back(span_of(range));
        }
        previous = range.is_match;
      }
      break;
  }
  out.erase(std::remove_if(out.begin() + static_cast<std::ptrdiff_t>(first_out), out.end(),
                           [](Span span) { return span.length == 0; }),
            out.end());
}

void split_pieces(Pieces& pieces, SplitBehavior behavior, bool invert, const FindRanges& find) {
  pieces.next_spans.clear();
  for (const Span span : pieces.spans) {
    find(pieces.piece(span), pieces.ranges);
    if (invert) {
      for (MatchRange& range : pieces.ranges) range.is_match = !range.is_match;
    }
    append_split(pieces.ranges, behavior, span, pieces.next_spans);
  }
  pieces.spans.swap(pieces.next_spans);
}

}  // namespace stretto::hf
