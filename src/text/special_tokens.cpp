#include "text/special_tokens.h"

#include <algorithm>

#include "base/error.h"

namespace stretto {
namespace {

// A sound model has some ten thousand special tokens of a few bytes; the trie takes about 60 bytes for each byte.
constexpr size_t kMaxSpecialBytes = size_t{4} << 20;

bool is_ascii_whitespace(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

}  // namespace

SpecialTokens::SpecialTokens(const TokenTable& table) : vocabulary_(table.vocabulary), root_(256, 0), ends_(1) {
  size_t total_bytes = 0;
  for (int32_t id = 0; id < vocabulary_.size(); ++id) {
    const TokenType type = vocabulary_.type(id);
    if (!is_special(type)) continue;
    total_bytes += vocabulary_.text(id).size();
    const bool swallows = !table.swallows_whitespace.empty() && table.swallows_whitespace[id];
    candidates_.push_back({id, type == TokenType::kUserDefined, swallows});
  }
  if (total_bytes > kMaxSpecialBytes) {
    fail(ErrorKind::kInvalidModel, "the texts of the special tokens take {} bytes, at most {} are allowed", total_bytes,
         kMaxSpecialBytes);
  }
  std::stable_sort(candidates_.begin(), candidates_.end(), [&](const Candidate& a, const Candidate& b) {
    return vocabulary_.text(a.id).size() > vocabulary_.text(b.id).size();
  });
  for (size_t i = 0; i < candidates_.size(); ++i) {
    End& end = ends_[insert(vocabulary_.text(candidates_[i].id))];
    if (end.any < 0) end.any = static_cast<int32_t>(i);
    if (end.user_defined < 0 && candidates_[i].always) end.user_defined = static_cast<int32_t>(i);
  }
}

// The trie node of `text`, created where it is missing.
uint32_t SpecialTokens::insert(std::string_view text) {
  uint32_t node = 0;
  for (const char c : text) {
    const auto byte = static_cast<uint8_t>(c);
    const uint64_t key = uint64_t{node} << 8 | byte;
    const uint32_t* edge = node == 0 ? &root_[byte] : edges_.find(key);
    if (edge != nullptr && *edge != 0) {
      node = *edge;
      continue;
    }
    const auto created = static_cast<uint32_t>(ends_.size());
    ends_.emplace_back();
    if (node == 0) {
      root_[byte] = created;
    } else {
      edges_.insert(key, created);
    }
    node = created;
  }
  return node;
}

// Indices of the candidates whose text occurs anywhere, in order of precedence.
std::vector<uint32_t> SpecialTokens::find_present(std::string_view text, bool parse_special) const {
  std::vector<uint32_t> present;
  std::vector<bool> seen(ends_.size());
  for (size_t at = 0; at < text.size(); ++at) {
    uint32_t node = root_[static_cast<uint8_t>(text[at])];
    for (size_t end = at + 1; node != 0; ++end) {
      const int32_t candidate = parse_special ? ends_[node].any : ends_[node].user_defined;
      if (candidate >= 0 && !seen[node]) {
        seen[node] = true;
        present.push_back(candidate);
      }
      if (end == text.size()) break;
      const uint32_t* edge = edges_.find(uint64_t{node} << 8 | static_cast<uint8_t>(text[end]));
      node = edge == nullptr ? 0 : *edge;
    }
  }
  std::sort(present.begin(), present.end());
  return present;
}

void SpecialTokens::claim(std::string_view text, const Candidate& candidate, std::vector<Fragment>& fragments) const {
  const std::string_view wanted = vocabulary_.text(candidate.id);
  std::vector<Fragment> result;
  result.reserve(fragments.size() + 8);
  for (const Fragment& fragment : fragments) {
    if (fragment.id >= 0) {
      result.push_back(fragment);
      continue;
    }
    const std::string_view raw = text.substr(0, fragment.end);
    uint32_t begin = fragment.begin;
    for (size_t at = raw.find(wanted, begin); at != std::string_view::npos; at = raw.find(wanted, begin)) {
      const auto match = static_cast<uint32_t>(at);
      const auto match_end = static_cast<uint32_t>(at + wanted.size());
      if (match > begin) result.push_back({begin, match, -1});
      result.push_back({match, match_end, candidate.id});
      begin = match_end;
      while (candidate.swallows && begin < raw.size() && is_ascii_whitespace(raw[begin])) ++begin;
    }
    if (begin < fragment.end) result.push_back({begin, fragment.end, -1});
  }
  fragments.swap(result);
}

std::vector<Fragment> SpecialTokens::partition(std::string_view text, bool parse_special) const {
  std::vector<Fragment> fragments;
  if (text.empty()) return fragments;
  fragments.push_back({0, static_cast<uint32_t>(text.size()), -1});
  for (const uint32_t index : find_present(text, parse_special)) claim(text, candidates_[index], fragments);
  return fragments;
}

}  // namespace stretto
