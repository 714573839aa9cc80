#include "text/hf/rank_bpe.h"

#include <utility>

#include "base/check.h"
#include "text/byte_alphabet.h"
#include "text/utf8.h"

namespace stretto::hf {

RankBpe::RankBpe(const Vocabulary& vocabulary, int32_t first_id, int32_t n_ranks, Pattern pattern)
    : vocabulary_(vocabulary), first_id_(first_id), n_ranks_(n_ranks), pattern_(std::move(pattern)) {
  for (int byte = 0; byte < 256; ++byte) {
    std::string text;
    append_utf8(text, byte_symbol(static_cast<uint8_t>(byte)));
    byte_ids_[static_cast<size_t>(byte)] = find(text);
    CHECK(byte_ids_[static_cast<size_t>(byte)] >= 0);
  }
}

int32_t RankBpe::find(std::string_view word) const {
  const int32_t id = vocabulary_.find(word);
  return id >= first_id_ && id - first_id_ < n_ranks_ ? id : -1;
}

void RankBpe::encode(std::string_view raw, std::vector<int32_t>& ids, std::vector<std::string>* warnings) const {
  const auto scratch = scratch_.lease();
  const std::string_view text = sanitise_utf8(raw, scratch->valid);
  pattern_.find(text, scratch->ranges, warnings);
  for (const MatchRange range : scratch->ranges) {
    if (range.begin == range.end) continue;
    const std::string_view piece = text.substr(range.begin, range.end - range.begin);
    if (scratch->cache.append(piece, ids)) continue;
    const size_t before = ids.size();
    encode_piece(piece, *scratch, ids);
    scratch->cache.remember(piece, ids.data() + before, ids.size() - before);
  }
  trim_buffer(scratch->valid);
  trim_buffer(scratch->word);
  trim_buffer(scratch->ranges);
  trim_buffer(scratch->symbols);
  scratch->merger.trim();
}

void RankBpe::encode_piece(std::string_view piece, Scratch& scratch, std::vector<int32_t>& ids) const {
  std::string& word = scratch.word;
  word.clear();
  std::vector<Symbol>& symbols = scratch.symbols;
  symbols.clear();
  for (const char c : piece) {
    const auto byte = static_cast<uint8_t>(c);
    const auto begin = static_cast<uint32_t>(word.size());
    append_utf8(word, byte_symbol(byte));
    symbols.push_back({begin, static_cast<uint32_t>(word.size()) - begin, byte_ids_[byte]});
  }
  if (const int32_t whole = find(word); whole >= 0) {
    ids.push_back(whole);
    return;
  }
  // Symbols stay neighbours in the word, so the text of a pair is one stretch of it.
  scratch.merger.merge(symbols, [&](const Symbol& left, const Symbol& right) {
    const int32_t id = find(std::string_view(word).substr(left.begin, left.length + right.length));
    return id < 0 ? PairMerge{} : PairMerge{static_cast<uint32_t>(id - first_id_), id};
  });
  for (const Symbol& symbol : symbols) ids.push_back(symbol.id);
}

}  // namespace stretto::hf
