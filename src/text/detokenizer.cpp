#include "text/detokenizer.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "text/utf8.h"

namespace stretto {

Detokenizer::Chunk Detokenizer::push(std::string_view piece) {
  pending_ += piece;
  Chunk chunk;
  chunk.bytes = pending_.substr(0, complete_utf8_prefix(pending_));
  pending_.erase(0, chunk.bytes.size());
  chunk.text = replace_invalid_utf8(chunk.bytes);
  return chunk;
}

Detokenizer::Chunk Detokenizer::finish() {
  Chunk chunk;
  chunk.bytes = std::exchange(pending_, std::string());
  std::string storage;
  chunk.text = sanitise_utf8(chunk.bytes, storage);
  return chunk;
}

// Each stop string is followed by a Knuth-Morris-Pratt automaton: constant time per byte whatever the strings are.
StopMatcher::StopMatcher(std::vector<std::string> stop_strings) {
  for (std::string& text : stop_strings) {
    if (text.empty()) fail(ErrorKind::kBadArgument, "a stop string is empty");
    Stop stop;
    stop.border.assign(text.size(), 0);
    for (uint32_t i = 1, length = 0; i < text.size(); ++i) {
      while (length > 0 && text[i] != text[length]) length = stop.border[length - 1];
      if (text[i] == text[length]) ++length;
      stop.border[i] = length;
    }
    stop.text = std::move(text);
    stops_.push_back(std::move(stop));
  }
}

std::string StopMatcher::push(std::string_view text) {
  if (stopped()) return {};
  for (size_t at = 0; at < text.size(); ++at) {
    const char c = text[at];
    size_t longest = 0;
    for (size_t i = 0; i < stops_.size(); ++i) {
      Stop& stop = stops_[i];
      while (stop.matched > 0 && stop.text[stop.matched] != c) stop.matched = stop.border[stop.matched - 1];
      if (stop.text[stop.matched] == c) ++stop.matched;
      if (stop.matched == stop.text.size() && stop.text.size() > longest) {
        longest = stop.text.size();
        found_ = i;
      }
    }
    if (!found_) continue;
    std::string shown = std::exchange(held_, std::string());
    shown.append(text, 0, at + 1);
    shown.resize(shown.size() - longest);
    return shown;
  }
  size_t hold = 0;
  for (const Stop& stop : stops_) hold = std::max<size_t>(hold, stop.matched);
  std::string shown = std::exchange(held_, std::string());
  shown += text;
  held_ = shown.substr(shown.size() - hold);
  shown.resize(shown.size() - hold);
  return shown;
}

std::string StopMatcher::finish() { return std::exchange(held_, std::string()); }

}  // namespace stretto
