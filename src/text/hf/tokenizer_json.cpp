#include "text/hf/tokenizer_json.h"

#include <algorithm>
#include <utility>

#include "base/json_tree.h"
#include "checkpoint/utf8.h"
#include "text/hf/json_fields.h"

namespace stretto::hf {
namespace {

constexpr size_t kMaxDepth = 64;
constexpr size_t kMaxTreeValues = size_t{8} << 20;  // 2^18 added tokens of 7 values each, and room
constexpr std::string_view kVersionLine = "#version";

// Keeps the last of equal keys, at its own place.
void drop_repeated_keys(Json::object_t& object) {
  Json::object_t::Container& items = object;  // by position
  std::vector<size_t> order(items.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return items[a].first < items[b].first; });
  std::vector<bool> dropped(items.size());
  bool any = false;
  for (size_t i = 0; i + 1 < order.size(); ++i) {
    dropped[order[i]] = items[order[i]].first == items[order[i + 1]].first;
    any = any || dropped[order[i]];
  }
  if (!any) return;
  Json::object_t kept;
  for (size_t i = 0; i < items.size(); ++i) {
    if (!dropped[i]) kept.Container::emplace_back(items[i].first, std::move(items[i].second));
  }
  object = std::move(kept);
}

// Receives the parser's events and sends them to the tree, the vocabulary or the merges.
class Reader : public nlohmann::json_sax<Json> {
 public:
  enum class Root { kTokenizer, kVocabulary };

  Reader(std::string_view where, Root root) : where_(where), root_kind_(root) {}

  TokenizerJson take() { return {tree_.take(), std::move(bpe_)}; }

  bool null() override { return value(nullptr); }
  bool boolean(bool v) override { return value(v); }
  bool number_integer(number_integer_t v) override { return value(v); }
  bool number_float(number_float_t v, const string_t&) override { return value(v); }
  bool binary(binary_t&) override { return false; }
  bool number_unsigned(number_unsigned_t v) override {
    if (place_ != Place::kVocab) return value(v);
    if (v >= kMaxVocabulary) refuse_id(v);
    bpe_.ids.push_back(static_cast<int32_t>(v));
    return true;
  }
  bool string(string_t& v) override {
    if (place_ == Place::kMerges) {
      add_merge_line(v);
    } else if (place_ == Place::kPair) {
      if (++pair_size_ > 2) refuse_pair();
      bpe_.merge_parts.push_back(std::move(v));
    } else {
      return value(std::move(v));
    }
    return true;
  }
  bool key(string_t& v) override {
    if (place_ == Place::kVocab) {
      add_token_text(v);
    } else {
      tree_.set_key(std::move(v));
    }
    return true;
  }
  bool start_object(std::size_t) override {
    if (place_ == Place::kTree && at_vocab()) {
      bpe_.texts.clear();
      bpe_.ids.clear();
      bpe_.has_vocab = true;
      place_ = Place::kVocab;
      return true;
    }
    if (place_ == Place::kTree && tree_.depth() == 1 && tree_.key() == "model") {  // a second model replaces the first
      in_model_ = true;
      bpe_ = {};
    }
    return open(Json::object());
  }
  bool end_object() override {
    if (place_ == Place::kVocab) {
      place_ = Place::kTree;
      return true;
    }
    drop_repeated_keys(tree_.innermost_object());
    tree_.close();
    if (tree_.depth() == 1) in_model_ = false;
    return true;
  }
  bool start_array(std::size_t) override {
    if (place_ == Place::kMerges) {
      if (merge_form_ == MergeForm::kLines) refuse_mixed();
      merge_form_ = MergeForm::kPairs;
      count_merge();
      pair_size_ = 0;
      place_ = Place::kPair;
      return true;
    }
    if (place_ == Place::kTree && at_merges()) {
      bpe_.merge_parts.clear();
      bpe_.has_merges = true;
      merge_form_ = MergeForm::kUnknown;
      n_merges_ = 0;
      place_ = Place::kMerges;
      return true;
    }
    return open(Json::array());
  }
  bool end_array() override {
    if (place_ == Place::kPair) {
      if (pair_size_ != 2) refuse_pair();
      place_ = Place::kMerges;
    } else if (place_ == Place::kMerges) {
      place_ = Place::kTree;
    } else {
      tree_.close();
    }
    return true;
  }
  bool parse_error(std::size_t position, const std::string&, const nlohmann::detail::exception& e) override {
    fail(ErrorKind::kInvalidModel, "{}: invalid JSON at byte {}: {}", where_, position == 0 ? 0 : position - 1,
         printable(explanation(e), 300));
  }

  // "left right" of merges given as lines.
  void add_merge_line(std::string_view line) {
    if (merge_form_ == MergeForm::kPairs) refuse_mixed();
    merge_form_ = MergeForm::kLines;
    if (line.substr(0, kVersionLine.size()) == kVersionLine) return;
    const size_t space = line.find(' ');
    if (space == std::string_view::npos || line.find(' ', space + 1) != std::string_view::npos) {
      fail(ErrorKind::kInvalidModel, "{}: merges[{}] is '{}', not two parts with one space between them", where_,
           n_merges_, printable(line));
    }
    count_merge();
    bpe_.merge_parts.emplace_back(line.substr(0, space));
    bpe_.merge_parts.emplace_back(line.substr(space + 1));
  }

 private:
  enum class Place { kTree, kVocab, kMerges, kPair };
  enum class MergeForm { kUnknown, kLines, kPairs };

  bool at_vocab() const {
    if (root_kind_ == Root::kVocabulary) return tree_.depth() == 0;
    return in_model_ && tree_.depth() == 2 && tree_.key() == "vocab";
  }
  bool at_merges() const { return in_model_ && tree_.depth() == 2 && tree_.key() == "merges"; }

  bool value(Json v) {
    if (place_ == Place::kVocab) {
      fail(ErrorKind::kInvalidModel, "{}: the id of '{}' is {}, expected an integer from 0 to {}", where_,
           printable(bpe_.texts.back()), show(v), kMaxVocabulary - 1);
    }
    if (place_ == Place::kMerges) refuse_value(fmt::format("{}: merges[{}]", where_, n_merges_), v, "a pair or a line");
    if (place_ == Place::kPair) refuse_pair();
    refuse_misplaced(v);
    count();
    tree_.append(std::move(v));
    return true;
  }

  // Vocabulary and merges that are no object or no array.
  void refuse_misplaced(const Json& v) const {
    if (at_vocab()) refuse_value(fmt::format("{}: the vocabulary", where_), v, "an object of texts and ids");
    if (at_merges()) refuse_value(fmt::format("{}: model.merges", where_), v, "an array");
  }

  void count() const {
    if (tree_.n_values() < kMaxTreeValues) return;
    fail(ErrorKind::kInvalidModel, "{}: more than {} values besides vocabulary and merges", where_, kMaxTreeValues);
  }

  bool open(Json empty) {
    if (place_ != Place::kTree) return value(std::move(empty));
    refuse_misplaced(empty);
    if (tree_.depth() >= kMaxDepth) {
      fail(ErrorKind::kInvalidModel, "{}: nested deeper than {} levels", where_, kMaxDepth);
    }
    count();
    tree_.open(std::move(empty));
    return true;
  }

  void add_token_text(std::string& text) {
    if (text.size() > kMaxTokenBytes) {
      fail(ErrorKind::kInvalidModel, "{}: a token of {} bytes, at most {} are allowed", where_, text.size(),
           kMaxTokenBytes);
    }
    if (bpe_.texts.size() >= kMaxVocabulary) {
      fail(ErrorKind::kInvalidModel, "{}: the vocabulary has more than {} entries", where_, kMaxVocabulary);
    }
    bpe_.texts.push_back(std::move(text));
  }

  void count_merge() {
    if (++n_merges_ > kMaxMerges) fail(ErrorKind::kInvalidModel, "{}: more than {} merges", where_, kMaxMerges);
  }

  [[noreturn]] void refuse_id(uint64_t id) const {
    fail(ErrorKind::kInvalidModel, "{}: the id of '{}' is {}, expected at most {}", where_,
         printable(bpe_.texts.back()), id, kMaxVocabulary - 1);
  }
  [[noreturn]] void refuse_pair() const {
    fail(ErrorKind::kInvalidModel, "{}: merges[{}] is not an array of two strings", where_, n_merges_ - 1);
  }
  [[noreturn]] void refuse_mixed() const {
    fail(ErrorKind::kInvalidModel, "{}: merges[{}]: lines and pairs are mixed", where_, n_merges_);
  }

  std::string_view where_;
  Root root_kind_;
  Place place_ = Place::kTree;
  MergeForm merge_form_ = MergeForm::kUnknown;
  bool in_model_ = false;
  size_t n_merges_ = 0;
  int pair_size_ = 0;
  JsonTree tree_;
  BpeData bpe_;
};

void run(std::string_view text, std::string_view where, Reader& reader) {
  if (text.size() > kMaxFileBytes) {
    fail(ErrorKind::kInvalidModel, "{} has {} bytes, at most {} are allowed", where, text.size(), kMaxFileBytes);
  }
  if (text.substr(0, 3) == "\xEF\xBB\xBF") {
    fail(ErrorKind::kInvalidModel, "{}: invalid JSON at byte 0: a byte-order mark", where);
  }
  if (!Json::sax_parse(text.data(), text.data() + text.size(), &reader)) {
    fail(ErrorKind::kInvalidModel, "{}: invalid JSON", where);
  }
}

}  // namespace

TokenizerJson parse_tokenizer_json(std::string_view text, std::string_view where) {
  Reader reader(where, Reader::Root::kTokenizer);
  run(text, where, reader);
  return reader.take();
}

BpeData parse_vocab_and_merges(std::string_view vocab_json, std::string_view merges_txt) {
  Reader vocabulary("vocab.json", Reader::Root::kVocabulary);
  run(vocab_json, "vocab.json", vocabulary);
  BpeData bpe = vocabulary.take().bpe;
  if (!bpe.has_vocab) fail(ErrorKind::kInvalidModel, "vocab.json holds no object");
  if (merges_txt.size() > kMaxFileBytes || !is_valid_utf8(merges_txt)) {
    fail(ErrorKind::kInvalidModel, "merges.txt is not UTF-8 text of at most {} bytes", kMaxFileBytes);
  }
  Reader lines("merges.txt", Reader::Root::kVocabulary);
  for (size_t begin = 0; begin < merges_txt.size();) {
    const size_t end = std::min(merges_txt.find('\n', begin), merges_txt.size());
    std::string_view line = merges_txt.substr(begin, end - begin);
    if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
    if (!line.empty() || end + 1 < merges_txt.size()) lines.add_merge_line(line);
    begin = end + 1;
  }
  bpe.merge_parts = lines.take().bpe.merge_parts;
  bpe.has_merges = true;
  return bpe;
}

}  // namespace stretto::hf
