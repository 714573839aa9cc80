#include "text/hf/piece_splitter.h"

#include "base/error.h"
#include "checkpoint/utf8.h"
#include "text/byte_alphabet.h"
#include "text/hf/characters.h"
#include "text/hf/normalizer.h"
#include "text/utf8.h"

namespace stretto::hf {
namespace {

// What ByteLevel splits by when it is asked to: the pattern of GPT-2.
constexpr std::string_view kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

SplitBehavior read_behavior(Fields& fields) {
  const std::string name = fields.text("behavior");
  if (name == "Removed") return SplitBehavior::kRemoved;
  if (name == "Isolated") return SplitBehavior::kIsolated;
  if (name == "MergedWithPrevious") return SplitBehavior::kMergedWithPrevious;
  if (name == "MergedWithNext") return SplitBehavior::kMergedWithNext;
  if (name == "Contiguous") return SplitBehavior::kContiguous;
  fail(ErrorKind::kInvalidModel,
       "{} is \"{}\", expected Removed, Isolated, MergedWithPrevious, MergedWithNext or Contiguous",
       fields.path_of("behavior"), printable(name));
}

class SplitStep : public SplitterStep {
 public:
  SplitStep(Pattern pattern, SplitBehavior behavior, bool invert)
      : pattern_(std::move(pattern)), behavior_(behavior), invert_(invert) {}
  void split(Pieces& pieces, Warnings* warnings) const override {
    split_pieces(pieces, behavior_, invert_, [&](std::string_view piece, std::vector<MatchRange>& ranges) {
      pattern_.find(piece, ranges, warnings);
    });
  }

 private:
  Pattern pattern_;
  SplitBehavior behavior_;
  bool invert_;
};

// Every character of a class is a match of its own.
class ClassStep : public SplitterStep {
 public:
  ClassStep(bool (*contains)(char32_t), SplitBehavior behavior) : contains_(contains), behavior_(behavior) {}
  void split(Pieces& pieces, Warnings*) const override {
    split_pieces(pieces, behavior_, false,
                 [&](std::string_view piece, std::vector<MatchRange>& ranges) { find(piece, ranges); });
  }

 private:
  void find(std::string_view piece, std::vector<MatchRange>& ranges) const {
    ranges.clear();
    uint32_t covered = 0;
    for (uint32_t at = 0; at < piece.size();) {
      const auto end = at + static_cast<uint32_t>(utf8_length_at(piece, at));
      if (contains_(utf8_code_point(piece, at, end - at))) {
        if (covered < at) ranges.push_back({covered, at, false});
        ranges.push_back({at, end, true});
        covered = end;
      }
      at = end;
    }
    if (covered < piece.size()) ranges.push_back({covered, static_cast<uint32_t>(piece.size()), false});
  }

  bool (*contains_)(char32_t);
  SplitBehavior behavior_;
};

// Keeps runs of word characters and runs of what is neither a word character nor a blank.
class WhitespaceStep : public SplitterStep {
 public:
  void split(Pieces& pieces, Warnings*) const override { split_pieces(pieces, SplitBehavior::kRemoved, false, find); }

 private:
  static void find(std::string_view piece, std::vector<MatchRange>& ranges) {
    enum class Kind { kBlank, kWord, kOther };
    ranges.clear();
    Kind previous = Kind::kBlank;
    for (uint32_t at = 0; at < piece.size();) {
      const auto end = at + static_cast<uint32_t>(utf8_length_at(piece, at));
      const char32_t c = utf8_code_point(piece, at, end - at);
      const Kind kind = is_word(c) ? Kind::kWord : is_white_space(c) ? Kind::kBlank : Kind::kOther;
      if (!ranges.empty() && kind == previous) {
        ranges.back().end = end;
      } else {
        ranges.push_back({at, end, kind == Kind::kBlank});
      }
      previous = kind;
      at = end;
    }
  }
};

class ByteLevelStep : public SplitterStep {
 public:
  ByteLevelStep(bool add_prefix_space, bool use_regex, std::string_view path) : add_prefix_space_(add_prefix_space) {
    if (use_regex) split_.emplace(Pattern::regex(kGpt2Pattern, path), SplitBehavior::kIsolated, false);
  }
  void split(Pieces& pieces, Warnings* warnings) const override {
    if (add_prefix_space_) {
      rewrite(pieces, [](std::string_view piece, std::string& out) {
        if (piece.front() != ' ') out.push_back(' ');
        out += piece;
      });
    }
    if (split_) split_->split(pieces, warnings);
    rewrite(pieces, [](std::string_view piece, std::string& out) { append_byte_symbols(out, piece); });
  }

  template <class Append>
  static void rewrite(Pieces& pieces, const Append& append) {
    pieces.rewritten.clear();
    pieces.next_spans.clear();
    for (const Span span : pieces.spans) {
      const size_t begin = pieces.rewritten.size();
      append(pieces.piece(span), pieces.rewritten);
      require_text_size(pieces.rewritten.size());
      pieces.next_spans.push_back(
          {static_cast<uint32_t>(begin), static_cast<uint32_t>(pieces.rewritten.size() - begin)});
    }
    pieces.take_rewritten();
  }

 private:
  bool add_prefix_space_;
  std::optional<SplitStep> split_;
};

enum class PrependScheme { kAlways, kFirst, kNever };

class MetaspaceStep : public SplitterStep {
 public:
  MetaspaceStep(char32_t replacement, PrependScheme scheme, bool split) : scheme_(scheme) {
    append_utf8(replacement_, replacement);
    if (split) split_.emplace(Pattern::literal(replacement_), SplitBehavior::kMergedWithNext, false);
  }
  void split(Pieces& pieces, Warnings* warnings) const override {
    const std::string_view whole = pieces.text;
    const bool at_input_start = pieces.at_input_start;
    ByteLevelStep::rewrite(pieces, [&](std::string_view piece, std::string& out) {
      const bool first = at_input_start && piece.data() == whole.data();
      const bool prepends = scheme_ == PrependScheme::kAlways || (scheme_ == PrependScheme::kFirst && first);
      const bool begins = piece.front() == ' ' || piece.substr(0, replacement_.size()) == replacement_;
      if (prepends && !begins) out += replacement_;
      for (const char c : piece) {
        if (c == ' ') {
          out += replacement_;
        } else {
          out.push_back(c);
        }
      }
    });
    if (split_) split_->split(pieces, warnings);
  }

 private:
  PrependScheme scheme_;
  std::string replacement_;
  std::optional<SplitStep> split_;
};

std::unique_ptr<const SplitterStep> make_metaspace(Fields& fields) {
  const char32_t replacement = fields.character("replacement");
  const std::string name = fields.optional_text("prepend_scheme").value_or("always");
  if (name != "always" && name != "first" && name != "never") {
    fail(ErrorKind::kInvalidModel, "{} is \"{}\", expected always, first or never", fields.path_of("prepend_scheme"),
         printable(name));
  }
  if (!fields.optional_flag("add_prefix_space").value_or(true) && name != "never") {
    fail(ErrorKind::kInvalidModel, "{} is false, which contradicts prepend_scheme \"{}\"",
         fields.path_of("add_prefix_space"), name);
  }
  const PrependScheme scheme = name == "always"  ? PrependScheme::kAlways
                               : name == "first" ? PrependScheme::kFirst
                                                 : PrependScheme::kNever;
  return std::make_unique<MetaspaceStep>(replacement, scheme, fields.optional_flag("split").value_or(true));
}

std::unique_ptr<const SplitterStep> make_byte_level(Fields& fields) {
  const bool add_prefix_space = fields.flag("add_prefix_space");
  fields.flag("trim_offsets");  // required, without effect on ids
  return std::make_unique<ByteLevelStep>(add_prefix_space, fields.optional_flag("use_regex").value_or(true),
                                         fields.path());
}

std::unique_ptr<const SplitterStep> make_step(const std::string& type, Fields& fields) {
  if (type == "ByteLevel") return make_byte_level(fields);
  if (type == "Metaspace") return make_metaspace(fields);
  if (type == "Split") {
    Pattern pattern = Pattern::read(fields, "pattern");
    const SplitBehavior behavior = read_behavior(fields);
    return std::make_unique<SplitStep>(std::move(pattern), behavior, fields.flag("invert"));
  }
  if (type == "Digits") {
    return std::make_unique<ClassStep>(
        is_numeric, fields.flag("individual_digits") ? SplitBehavior::kIsolated : SplitBehavior::kContiguous);
  }
  if (type == "Punctuation") {
    return std::make_unique<ClassStep>(
        is_punctuation, fields.find("behavior") == nullptr ? SplitBehavior::kIsolated : read_behavior(fields));
  }
  if (type == "Whitespace") return std::make_unique<WhitespaceStep>();
  if (type == "WhitespaceSplit") return std::make_unique<ClassStep>(is_white_space, SplitBehavior::kRemoved);
  fail(ErrorKind::kUnsupported, "{}.type is \"{}\", an unsupported pre-tokenizer", fields.path(), printable(type));
}

}  // namespace

PieceSplitter::PieceSplitter(const Json& json, std::string_view path, Warnings& warnings) {
  if (!json.is_null()) add(json, std::string(path), 0, warnings);
}

void PieceSplitter::add(const Json& json, const std::string& path, int depth, Warnings& warnings) {
  if (depth >= kMaxNesting) fail(ErrorKind::kInvalidModel, "{}: nested deeper than {} levels", path, kMaxNesting);
  Fields fields(json, path);
  const std::string type = fields.text("type");
  if (type == "Sequence") {
    const Json& items = fields.array("pretokenizers");
    for (size_t i = 0; i < items.size(); ++i) {
      add(items[i], fmt::format("{}.pretokenizers[{}]", path, i), depth + 1, warnings);
    }
  } else {
    if (steps_.size() >= kMaxSteps) fail(ErrorKind::kInvalidModel, "{}: more than {} steps", path, kMaxSteps);
    steps_.push_back(make_step(type, fields));
  }
  fields.report_unread(warnings);
}

void PieceSplitter::split(Pieces& pieces, Warnings* warnings) const {
  for (const auto& step : steps_) step->split(pieces, warnings);
}

}  // namespace stretto::hf
