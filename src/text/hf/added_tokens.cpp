#include "text/hf/added_tokens.h"

#include <algorithm>
#include <unordered_map>
#include <unordered_set>

#include "base/error.h"
#include "checkpoint/utf8.h"
#include "text/hf/characters.h"
#include "text/utf8.h"

namespace stretto::hf {
namespace {

constexpr size_t kMaxAddedTokens = size_t{1} << 18;
constexpr size_t kMaxPatternsBytes = size_t{4} << 20;
constexpr size_t kMaxIdWarnings = 5;

// The begin of the character that ends before `at`.
size_t previous_character(std::string_view text, size_t at) {
  --at;
  while (at > 0 && (static_cast<uint8_t>(text[at]) & 0xC0) == 0x80) --at;
  return at;
}

bool is_word_before(std::string_view text, size_t at) {
  if (at == 0) return false;
  const size_t begin = previous_character(text, at);
  return is_word(utf8_code_point(text, begin, at - begin));
}

bool is_word_at(std::string_view text, size_t at) {
  return at < text.size() && is_word(utf8_code_point(text, at, utf8_length_at(text, at)));
}

size_t skip_blanks_left(std::string_view text, size_t at, size_t limit) {
  while (at > limit) {
    const size_t begin = previous_character(text, at);
    if (begin < limit || !is_white_space(utf8_code_point(text, begin, at - begin))) break;
    at = begin;
  }
  return at;
}

size_t skip_blanks_right(std::string_view text, size_t at) {
  while (at < text.size()) {
    const size_t length = utf8_length_at(text, at);
    if (!is_white_space(utf8_code_point(text, at, length))) break;
    at += length;
  }
  return at;
}

}  // namespace

AddedToken read_added_token(Fields& fields, bool required) {
  AddedToken token;
  token.path = fields.path();
  token.content = fields.text("content");
  if (token.content.size() > kMaxTokenBytes) {
    fail(ErrorKind::kInvalidModel, "{} has {} bytes, at most {} are allowed", fields.path_of("content"),
         token.content.size(), kMaxTokenBytes);
  }
  const auto flag = [&](std::string_view key) {
    return required ? fields.flag(key) : fields.optional_flag(key).value_or(false);
  };
  token.single_word = flag("single_word");
  token.lstrip = flag("lstrip");
  token.rstrip = flag("rstrip");
  token.normalized = flag("normalized");
  token.special = flag("special");
  return token;
}

std::vector<AddedToken> read_added_tokens(Fields& tokenizer, Warnings& warnings) {
  std::vector<AddedToken> tokens;
  if (!tokenizer.has("added_tokens")) return tokens;
  const Json& list = tokenizer.array("added_tokens");
  if (list.size() > kMaxAddedTokens) {
    fail(ErrorKind::kInvalidModel, "{} has {} entries, at most {} are allowed", tokenizer.path_of("added_tokens"),
         list.size(), kMaxAddedTokens);
  }
  for (size_t i = 0; i < list.size(); ++i) {
    Fields fields(list[i], fmt::format("{}[{}]", tokenizer.path_of("added_tokens"), i));
    const uint64_t id = fields.unsigned_integer("id", UINT32_MAX);
    tokens.push_back(read_added_token(fields, true));
    tokens.back().declared_id = id;
    fields.report_unread(warnings);
  }
  return tokens;
}

std::vector<AddedToken> assign_ids(std::vector<AddedToken> tokens, const BpeModel& model, Warnings& warnings) {
  std::vector<AddedToken> out;
  std::unordered_map<std::string, size_t> index;
  std::unordered_set<int32_t> used;
  model.for_each([&](int32_t id, std::string_view) { used.insert(id); });
  const auto n_model = static_cast<int64_t>(model.n_entries());
  int64_t next = n_model;
  size_t n_moved = 0;
  for (AddedToken& token : tokens) {
    if (token.content.empty()) continue;
    const auto [place, is_new] = index.try_emplace(token.content, out.size());
    if (!is_new) {
      token.id = out[place->second].id;
    } else {
      token.id = model.find(token.content);
      if (token.id < 0) {
        if (next >= kMaxVocabulary || !used.insert(static_cast<int32_t>(next)).second) {
          fail(ErrorKind::kInvalidModel, "{}: '{}' would get the id {}, which is {}", token.path,
               printable(token.content), next, next >= kMaxVocabulary ? "too large" : "taken");
        }
        token.id = static_cast<int32_t>(next);
      }
      if (token.id >= n_model) next = std::max<int64_t>(next, int64_t{token.id} + 1);
    }
    if (token.declared_id && *token.declared_id != static_cast<uint64_t>(token.id) && ++n_moved <= kMaxIdWarnings) {
      warnings.push_back(fmt::format("{}: '{}' says id {} and gets {}", token.path, printable(token.content),
                                     *token.declared_id, token.id));
    }
    if (is_new) {
      out.push_back(std::move(token));
    } else {
      out[place->second] = std::move(token);
    }
  }
  if (n_moved > kMaxIdWarnings) {
    warnings.push_back(fmt::format("{} more added tokens get another id than they say", n_moved - kMaxIdWarnings));
  }
  return out;
}

AddedTokenScanner::AddedTokenScanner(std::vector<Pattern> patterns)
    : patterns_(std::move(patterns)), root_(256, 0), ends_(1, -1) {
  size_t total = 0;
  for (const Pattern& pattern : patterns_) total += pattern.text.size();
  if (total > kMaxPatternsBytes) {
    fail(ErrorKind::kInvalidModel, "the texts of the added tokens take {} bytes, at most {} are allowed", total,
         kMaxPatternsBytes);
  }
  for (size_t i = 0; i < patterns_.size(); ++i) {
    uint32_t node = 0;
    for (const char c : patterns_[i].text) {
      const auto byte = static_cast<uint8_t>(c);
      uint32_t next = child(node, byte);
      if (next == 0) {
        next = static_cast<uint32_t>(ends_.size());
        ends_.push_back(-1);
        if (node == 0) {
          root_[byte] = next;
        } else {
          edges_.insert(uint64_t{node} << 8 | byte, next);
        }
      }
      node = next;
    }
    int32_t& end = ends_[node];
    if (end < 0 || patterns_[i].id < patterns_[static_cast<size_t>(end)].id) end = static_cast<int32_t>(i);
  }
  ends_[0] = -1;  // an empty text matches nowhere
}

uint32_t AddedTokenScanner::child(uint32_t node, uint8_t byte) const {
  if (node == 0) return root_[byte];
  const uint32_t* edge = edges_.find(uint64_t{node} << 8 | byte);
  return edge == nullptr ? 0 : *edge;
}

AddedTokenScanner::Match AddedTokenScanner::longest_at(std::string_view text, size_t at) const {
  Match match{at, -1};
  uint32_t node = 0;
  while (at < text.size()) {
    node = child(node, static_cast<uint8_t>(text[at++]));
    if (node == 0) break;
    if (ends_[node] >= 0) match = {at, ends_[node]};
  }
  return match;
}

void AddedTokenScanner::scan(std::string_view text, bool parse_special, std::vector<Fragment>& fragments) const {
  size_t start = 0;
  const auto emit = [&](size_t begin, size_t end, int32_t id) {
    fragments.push_back({static_cast<uint32_t>(begin), static_cast<uint32_t>(end), id});
  };
  for (size_t at = 0; at < text.size();) {
    const Match match = root_[static_cast<uint8_t>(text[at])] == 0 ? Match{at, -1} : longest_at(text, at);
    if (match.pattern < 0) {
      ++at;
      continue;
    }
    const Pattern& pattern = patterns_[static_cast<size_t>(match.pattern)];
    size_t begin = at;
    size_t end = match.end;
    at = match.end;
    if (pattern.special && !parse_special) continue;
    if (pattern.single_word && (is_word_before(text, begin) || is_word_at(text, end))) continue;
    if (pattern.lstrip) begin = skip_blanks_left(text, begin, start);
    if (pattern.rstrip) end = skip_blanks_right(text, end);
    if (start < begin) emit(start, begin, -1);
    emit(begin, end, pattern.id);
    start = end;
  }
  if (start < text.size()) emit(start, text.size(), -1);
}

}  // namespace stretto::hf
