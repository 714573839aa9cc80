#include "text/bpe.h"

#include <algorithm>

#include "base/error.h"
#include "checkpoint/utf8.h"
#include "text/byte_alphabet.h"
#include "text/utf8.h"

namespace stretto {
namespace {

constexpr size_t kMaxMerges = size_t{1} << 24;

// The ids of merged symbols. A merge product that is no token falls back to its single bytes, those that are tokens.
void append_tokens(const Vocabulary& vocabulary, std::string_view piece, const std::vector<Symbol>& symbols,
                   const std::array<int32_t, 256>& id_of_byte, std::vector<int32_t>& ids) {
  for (const Symbol& symbol : symbols) {
    if (vocabulary.contains(symbol.id)) {
      ids.push_back(symbol.id);
      continue;
    }
    for (const char c : piece.substr(symbol.begin, symbol.length)) {
      const int32_t id = id_of_byte[static_cast<uint8_t>(c)];
      if (vocabulary.contains(id)) ids.push_back(id);
    }
  }
}

}  // namespace

MergeTable::MergeTable(const Vocabulary& vocabulary, const std::vector<std::string>& merges) : vocabulary_(vocabulary) {
  if (merges.size() > kMaxMerges) {
    fail(ErrorKind::kInvalidModel, "tokenizer.ggml.merges has {} entries, at most {} are allowed", merges.size(),
         kMaxMerges);
  }
  merges_ = FlatMap<PairMerge>(merges.size());
  std::string merged;
  for (size_t rank = 0; rank < merges.size(); ++rank) {
    const std::string_view entry = merges[rank];
    const size_t space = entry.find(' ', 1);
    if (space == std::string_view::npos || space + 1 == entry.size()) {
      fail(ErrorKind::kInvalidModel, "tokenizer.ggml.merges[{}] is '{}', not two parts with a space between them", rank,
           printable(entry));
    }
    merged.assign(entry, 0, space);
    merged.append(entry, space + 1);
    const int32_t left = find_or_add(entry.substr(0, space));
    const int32_t right = find_or_add(entry.substr(space + 1));
    merges_.insert(static_cast<uint64_t>(left) << 32 | static_cast<uint32_t>(right),
                   {static_cast<uint32_t>(rank), find_or_add(merged)});
  }
}

int32_t MergeTable::find_or_add(std::string_view text) {
  const int32_t id = vocabulary_.find(text);
  if (id >= 0) return id;
  const auto next = vocabulary_.size() + static_cast<int32_t>(unlisted_.size());
  return unlisted_.try_emplace(std::string(text), next).first->second;
}

int32_t MergeTable::symbol(std::string_view text) const {
  const int32_t id = vocabulary_.find(text);
  if (id >= 0 || unlisted_.empty()) return id;
  const auto found = unlisted_.find(std::string(text));
  return found == unlisted_.end() ? -1 : found->second;
}

ByteLevelBpe::ByteLevelBpe(const Vocabulary& vocabulary, const std::vector<std::string>& merges, const PreRule& rule)
    : vocabulary_(vocabulary),
      merges_(vocabulary, merges),
      pre_(pre_patterns(rule.family)),
      ignore_merges_(rule.ignore_merges) {
  for (int byte = 0; byte < 256; ++byte) {
    std::string text;
    append_utf8(text, byte_symbol(static_cast<uint8_t>(byte)));
    byte_symbols_[byte] = merges_.symbol(text);
  }
}

void ByteLevelBpe::encode(std::string_view raw, std::vector<int32_t>& ids, std::vector<std::string>* warnings) const {
  const auto scratch = scratch_.lease();
  const std::string_view text = sanitise_utf8(raw, scratch->valid);
  pre_.split(text, scratch->pieces, warnings);
  for (const Span span : scratch->pieces) {
    const std::string_view piece = text.substr(span.begin, span.length);
    if (scratch->cache.append(piece, ids)) continue;
    const size_t before = ids.size();
    encode_piece(piece, *scratch, ids);
    scratch->cache.remember(piece, ids.data() + before, ids.size() - before);
  }
  trim_buffer(scratch->valid);
  trim_buffer(scratch->pieces);
  trim_buffer(scratch->symbols);
  scratch->merger.trim();
}

void ByteLevelBpe::encode_piece(std::string_view piece, Scratch& scratch, std::vector<int32_t>& ids) const {
  if (ignore_merges_ && piece.size() <= vocabulary_.max_text_bytes()) {
    scratch.word.clear();
    append_byte_symbols(scratch.word, piece);
    const int32_t id = vocabulary_.find(scratch.word);
    if (id >= 0) {
      ids.push_back(id);
      return;
    }
  }
  std::vector<Symbol>& symbols = scratch.symbols;
  symbols.clear();
  for (uint32_t i = 0; i < piece.size(); ++i) {
    symbols.push_back({i, 1, byte_symbols_[static_cast<uint8_t>(piece[i])]});
  }
  scratch.merger.merge(symbols,
                       [this](const Symbol& left, const Symbol& right) { return merges_.find(left.id, right.id); });
  append_tokens(vocabulary_, piece, symbols, byte_symbols_, ids);
}

RawUtf8Bpe::RawUtf8Bpe(const Vocabulary& vocabulary, const std::vector<std::string>& merges, const PreRule& rule)
    : vocabulary_(vocabulary),
      merges_(vocabulary, merges),
      pre_(pre_patterns(rule.family)),
      newline_rule_(rule.newline_rule),
      byte_tokens_(find_byte_tokens(vocabulary)) {}

void RawUtf8Bpe::encode(std::string_view raw, std::vector<int32_t>& ids, std::vector<std::string>* warnings) const {
  const auto scratch = scratch_.lease();
  escape_spaces(sanitise_utf8(raw, scratch->valid), scratch->escaped);
  const std::string_view text = scratch->escaped;
  pre_.split(text, scratch->pieces, warnings);
  for (const Span span : scratch->pieces) encode_piece(text.substr(span.begin, span.length), *scratch, ids);
  trim_buffer(scratch->valid);
  trim_buffer(scratch->escaped);
  trim_buffer(scratch->pieces);
  trim_buffer(scratch->symbols);
  scratch->merger.trim();
}

void RawUtf8Bpe::encode_piece(std::string_view piece, Scratch& scratch, std::vector<int32_t>& ids) const {
  if (newline_rule_ && piece.front() == '\n') {  // pieces are all newlines or have none
    const int32_t id = vocabulary_.find(piece);
    if (id >= 0) {
      ids.push_back(id);
      return;
    }
  }
  std::vector<Symbol>& symbols = scratch.symbols;
  symbols.clear();
  for (size_t at = 0; at < piece.size();) {
    const size_t length = std::max<size_t>(1, utf8_length_at(piece, at));
    const int32_t id = merges_.symbol(piece.substr(at, length));
    symbols.push_back({static_cast<uint32_t>(at), static_cast<uint32_t>(length), id});
    at += length;
  }
  scratch.merger.merge(symbols,
                       [this](const Symbol& left, const Symbol& right) { return merges_.find(left.id, right.id); });
  append_tokens(vocabulary_, piece, symbols, byte_tokens_, ids);
}

std::array<int32_t, 256> find_byte_tokens(const Vocabulary& vocabulary) {
  std::array<int32_t, 256> ids;
  for (int byte = 0; byte < 256; ++byte) ids[byte] = vocabulary.find(byte_token_text(static_cast<uint8_t>(byte)));
  return ids;
}

void escape_spaces(std::string_view text, std::string& out) {
  out.clear();
  for (const char c : text) {
    if (c == ' ') {
      out += kBlankSymbol;
    } else {
      out.push_back(c);
    }
  }
}

}  // namespace stretto
