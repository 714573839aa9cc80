// Streaming text: whatever the pieces, the shown text is valid UTF-8, the same for every way of cutting the bytes, and
// ends before the stop string that is complete first.
//   input: stop strings and a text, separated by 0xff; then one byte per cut
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/check.h"
#include "text/detokenizer.h"
#include "text/utf8.h"

namespace {

using stretto::Detokenizer;
using stretto::StopMatcher;

struct Shown {
  std::string text;
  bool stopped = false;
};

// Cuts `bytes` after cuts[0], cuts[1], ... bytes (0: one byte).
Shown show(std::string_view bytes, const std::vector<std::string>& stops, std::string_view cuts) {
  Detokenizer detokenizer;
  StopMatcher matcher(stops);
  Shown out;
  for (size_t at = 0, i = 0; at < bytes.size() && !matcher.stopped(); ++i) {
    const size_t n = cuts.empty() ? bytes.size() : static_cast<uint8_t>(cuts[i % cuts.size()]) % 16 + 1;
    out.text += matcher.push(detokenizer.push(bytes.substr(at, n)).text);
    at += n;
  }
  if (!matcher.stopped()) out.text += matcher.push(detokenizer.finish().text);
  out.text += matcher.finish();
  out.stopped = matcher.stopped();
  return out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), std::min<size_t>(size, 4096));
  std::vector<std::string> parts(1);
  for (const char c : input) {
    if (c == '\xff' && parts.size() < 6) {
      parts.emplace_back();
    } else {
      parts.back() += c;
    }
  }
  const std::string cuts = parts.back();
  parts.pop_back();
  if (parts.empty()) return 0;
  const std::string text = parts.back();
  parts.pop_back();
  std::vector<std::string> stops;
  for (const std::string& s : parts)
    if (!s.empty() && stretto::replace_invalid_utf8(s) == s) stops.push_back(s);
  const Shown whole = show(text, stops, ""), pieces = show(text, stops, cuts.empty() ? "\x01" : cuts);
  CHECK(whole.text == pieces.text && whole.stopped == pieces.stopped);
  CHECK(stretto::replace_invalid_utf8(whole.text) == whole.text);
  for (const std::string& s : stops) CHECK(whole.text.find(s) == std::string::npos);
  return 0;
}
