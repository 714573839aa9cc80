#include "text/hf/bpe_model.h"

#include <algorithm>

#include "base/error.h"
#include "checkpoint/utf8.h"
#include "text/hf/pattern.h"
#include "text/utf8.h"

namespace stretto::hf {
namespace {

uint64_t pair_key(int32_t left, int32_t right) {
  return static_cast<uint64_t>(left) << 32 | static_cast<uint32_t>(right);
}

void require_bpe(Fields& fields) {
  const std::optional<std::string> type = fields.optional_text("type");
  if (type && *type != "BPE") {
    fail(ErrorKind::kUnsupported, "{} is \"{}\", supported is BPE", fields.path_of("type"), printable(*type));
  }
  const Json* dropout = fields.find("dropout");
  if (dropout == nullptr) return;
  if (!dropout->is_number() || dropout->get<double>() < 0 || dropout->get<double>() > 1) {
    refuse_value(fields.path_of("dropout"), *dropout, "a number from 0 to 1");
  }
  if (dropout->get<double>() != 0) {
    fail(ErrorKind::kUnsupported, "{} is {}: random merges are not supported", fields.path_of("dropout"),
         show(*dropout));
  }
}

}  // namespace

BpeModel::BpeModel(const Json& model, BpeData data, std::string_view path, Warnings& warnings) {
  Fields fields(model, std::string(path));
  require_bpe(fields);
  if (!data.has_vocab) fail(ErrorKind::kInvalidModel, "{} is missing", fields.path_of("vocab"));
  if (!data.has_merges) fail(ErrorKind::kInvalidModel, "{} is missing", fields.path_of("merges"));
  read_entries(data, path);
  read_flags(fields);
  read_merges(data.merge_parts, path);
  for (int byte = 0; byte < 256; ++byte) byte_ids_[byte] = find(byte_token_text(static_cast<uint8_t>(byte)));
  fields.report_unread(warnings);
}

void BpeModel::read_flags(Fields& fields) {
  ignore_merges_ = fields.optional_flag("ignore_merges").value_or(false);
  byte_fallback_ = fields.optional_flag("byte_fallback").value_or(false);
  fuse_unknown_ = fields.optional_flag("fuse_unk").value_or(false);
  prefix_ = fields.optional_text("continuing_subword_prefix").value_or("");
  suffix_ = fields.optional_text("end_of_word_suffix").value_or("");
  if (prefix_.size() > kMaxTokenBytes || suffix_.size() > kMaxTokenBytes) {
    fail(ErrorKind::kInvalidModel, "{}: a prefix or suffix of more than {} bytes", fields.path(), kMaxTokenBytes);
  }
  const std::optional<std::string> unknown = fields.optional_text("unk_token");
  if (!unknown) return;
  const int32_t id = find(*unknown);
  if (id < 0) {
    fail(ErrorKind::kInvalidModel, "{} is \"{}\", which is not in the vocabulary", fields.path_of("unk_token"),
         printable(*unknown));
  }
  unknown_ = id;
}

void BpeModel::read_entries(BpeData& data, std::string_view path) {
  const auto empty = std::find(data.texts.begin(), data.texts.end(), std::string());
  size_t n_empty = 0;
  if (empty != data.texts.end()) {  // an empty text can never be reached, but it counts
    size_t kept = 0;
    for (size_t i = 0; i < data.texts.size(); ++i) {
      if (data.texts[i].empty()) continue;
      if (kept != i) data.texts[kept] = std::move(data.texts[i]);
      data.ids[kept++] = data.ids[i];
    }
    data.texts.resize(kept);
    data.ids.resize(kept);
    n_empty = 1;
  }
  if (data.texts.empty()) fail(ErrorKind::kInvalidModel, "{}.vocab has no tokens", path);
  std::vector<TokenType> types(data.texts.size(), TokenType::kNormal);
  entries_ = Vocabulary(data.texts, std::move(types));
  ids_ = std::move(data.ids);
  for (const int32_t shadowed : entries_.duplicates()) ids_[shadowed] = -1;
  n_entries_ = data.texts.size() - entries_.duplicates().size() + n_empty;
  std::vector<bool> used(kMaxVocabulary);
  for (int32_t i = 0; i < entries_.size(); ++i) {
    if (ids_[i] < 0) continue;
    if (used[ids_[i]]) {
      fail(ErrorKind::kInvalidModel, "{}.vocab gives the id {} to '{}' and to another text", path, ids_[i],
           printable(entries_.text(i)));
    }
    used[ids_[i]] = true;
  }
}

void BpeModel::read_merges(const std::vector<std::string>& parts, std::string_view path) {
  const size_t n = parts.size() / 2;
  merges_ = FlatMap<PairMerge>(n);
  const auto require = [&](std::string_view text, size_t rank) {
    const int32_t id = find(text);
    if (id >= 0) return id;
    fail(ErrorKind::kInvalidModel, "{}.merges[{}]: '{}' is not in the vocabulary", path, rank, printable(text));
  };
  std::string merged;
  for (size_t rank = n; rank-- > 0;) {  // of equal pairs the last one counts: it is inserted first
    const std::string& left = parts[2 * rank];
    const std::string& right = parts[2 * rank + 1];
    const int32_t left_id = require(left, rank);
    const int32_t right_id = require(right, rank);
    if (right.size() < prefix_.size()) {
      fail(ErrorKind::kInvalidModel, "{}.merges[{}]: '{}' is shorter than the prefix '{}'", path, rank,
           printable(right), printable(prefix_));
    }
    merged = left;
    merged.append(right, prefix_.size());
    merges_.insert(pair_key(left_id, right_id), {static_cast<uint32_t>(rank), require(merged, rank)});
  }
}

int32_t BpeModel::find(std::string_view text) const {
  const int32_t entry = entries_.find(text);
  return entry < 0 ? -1 : ids_[entry];
}

// The symbols that merging starts from: a character is a token, or its bytes are, or it is unknown.
void BpeModel::split_characters(std::string_view piece, Scratch& scratch) const {
  std::vector<Symbol>& symbols = scratch.symbols;
  symbols.clear();
  bool unknown_pending = false;
  const auto flush = [&] {
    if (unknown_pending) symbols.push_back({0, 0, *unknown_});
    unknown_pending = false;
  };
  const bool plain = prefix_.empty() && suffix_.empty();
  for (size_t at = 0; at < piece.size();) {
    const size_t length = utf8_length_at(piece, at);
    std::string_view text = piece.substr(at, length);
    if (!plain) {
      scratch.text.clear();
      if (at > 0) scratch.text = prefix_;
      scratch.text += text;
      if (at + length == piece.size()) scratch.text += suffix_;
      text = scratch.text;
    }
    at += length;
    const int32_t id = find(text);
    if (id >= 0) {
      flush();
      symbols.push_back({0, 0, id});
      continue;
    }
    const auto has_token = [this](char byte) { return byte_ids_[static_cast<uint8_t>(byte)] >= 0; };
    if (byte_fallback_ && std::all_of(text.begin(), text.end(), has_token)) {
      // A pending unknown stays behind these bytes.
      for (const char byte : text) symbols.push_back({0, 0, byte_ids_[static_cast<uint8_t>(byte)]});
      require_text_size(symbols.size());
    } else if (unknown_) {
      if (!fuse_unknown_) flush();
      unknown_pending = true;
    }
  }
  flush();
}

void BpeModel::encode(std::string_view piece, std::vector<int32_t>& ids, Scratch& scratch) const {
  if (scratch.cache.append(piece, ids)) return;
  const size_t before = ids.size();
  const int32_t whole = ignore_merges_ ? find(piece) : -1;
  if (whole >= 0) {
    ids.push_back(whole);
  } else {
    split_characters(piece, scratch);
    scratch.merger.merge(scratch.symbols, [this](const Symbol& left, const Symbol& right) {
      const PairMerge* merge = merges_.find(pair_key(left.id, right.id));
      return merge == nullptr ? PairMerge{} : *merge;
    });
    for (const Symbol& symbol : scratch.symbols) ids.push_back(symbol.id);
    trim_buffer(scratch.symbols);
    scratch.merger.trim();
  }
  scratch.cache.remember(piece, ids.data() + before, ids.size() - before);
}

}  // namespace stretto::hf
