#include "text/hf/sentencepiece_file.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/error.h"
#include "checkpoint/utf8.h"
#include "text/hf/protobuf_reader.h"
#include "text/hf/tokenizer_json.h"
#include "text/object_pool.h"
#include "text/spm.h"

namespace stretto::hf {
namespace {

constexpr std::string_view kFile = "tokenizer.model";
constexpr int32_t kUnigram = 1;  // the format's default
constexpr int32_t kBpe = 2;

// "base64 SP number": a line of a tiktoken file. A protobuf begins with a byte 0A, which is an empty line.
bool is_tiktoken(std::string_view file) {
  const std::string_view line = file.substr(0, std::min(file.find('\n'), size_t{1024}));
  const size_t space = line.find(' ');
  if (space == 0 || space == std::string_view::npos) return false;
  const auto is_digit = [](char c) { return c >= '0' && c <= '9'; };
  const auto is_base64 = [&](char c) {
    return is_digit(c) || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '+' || c == '/' || c == '=';
  };
  std::string_view number = line.substr(space + 1);
  if (!number.empty() && number.back() == '\r') number.remove_suffix(1);
  return !number.empty() && std::all_of(number.begin(), number.end(), is_digit) &&
         std::all_of(line.begin(), line.begin() + static_cast<std::ptrdiff_t>(space), is_base64);
}

class ModelReader {
 public:
  SentencePieceModel read(std::string_view file) {
    ProtobufReader reader(kFile, file);
    while (const auto field = reader.next()) {
      if (field->number == 1) read_piece(reader.message(*field, "pieces"));
      if (field->number == 2) read_trainer(reader.message(*field, "trainer_spec"));
      if (field->number == 3) read_normalizer(reader.message(*field, "normalizer_spec"));
    }
    check();
    return std::move(model_);
  }

 private:
  void read_piece(ProtobufReader reader) {
    const size_t id = model_.texts.size();
    if (id >= kMaxVocabulary) fail(ErrorKind::kInvalidModel, "{}: more than {} pieces", kFile, kMaxVocabulary);
    std::string_view text;
    float score = 0;
    int32_t type = 1;
    while (const auto field = reader.next()) {
      if (field->number == 1) text = reader.bytes(*field, "pieces.piece");
      if (field->number == 2) score = reader.real(*field, "pieces.score");
      if (field->number == 3) type = reader.int32(*field, "pieces.type");
    }
    if (text.empty() || text.size() > kMaxTokenBytes) {
      fail(ErrorKind::kInvalidModel, "{}: pieces[{}].piece has {} bytes, expected 1 to {}", kFile, id, text.size(),
           kMaxTokenBytes);
    }
    if (std::isnan(score)) fail(ErrorKind::kInvalidModel, "{}: pieces[{}].score is not a number", kFile, id);
    if (type < 1 || type > 6) {
      fail(ErrorKind::kInvalidModel, "{}: pieces[{}].type is {}, expected 1 to 6", kFile, id, type);
    }
    model_.texts.emplace_back(text);
    model_.scores.push_back(score);
    model_.types.push_back(static_cast<TokenType>(type));
  }

  void read_trainer(ProtobufReader reader) {
    has_trainer_ = true;
    while (const auto field = reader.next()) {
      switch (field->number) {
        case 3:
          model_type_ = reader.int32(*field, "trainer_spec.model_type");
          break;
        case 24:
          blank_as_suffix_ = reader.flag(*field, "trainer_spec.treat_whitespace_as_suffix");
          break;
        case 35:
          model_.byte_fallback = reader.flag(*field, "trainer_spec.byte_fallback");
          break;
        case 40:
          model_.unknown = reader.int32(*field, "trainer_spec.unk_id");
          break;
        case 41:
          model_.bos = reader.int32(*field, "trainer_spec.bos_id");
          break;
        case 42:
          model_.eos = reader.int32(*field, "trainer_spec.eos_id");
          break;
        case 43:
          model_.padding = reader.int32(*field, "trainer_spec.pad_id");
          break;
        default:
          break;
      }
    }
  }

  void read_normalizer(ProtobufReader reader) {
    has_normalizer_ = true;
    while (const auto field = reader.next()) {
      switch (field->number) {
        case 1:
          normalizer_ = reader.bytes(*field, "normalizer_spec.name");
          break;
        case 2:
          charsmap_bytes_ = reader.bytes(*field, "normalizer_spec.precompiled_charsmap").size();
          break;
        case 3:
          model_.add_dummy_prefix = reader.flag(*field, "normalizer_spec.add_dummy_prefix");
          break;
        case 4:
          model_.remove_extra_whitespaces = reader.flag(*field, "normalizer_spec.remove_extra_whitespaces");
          break;
        case 5:
          escapes_blanks_ = reader.flag(*field, "normalizer_spec.escape_whitespaces");
          break;
        default:
          break;
      }
    }
  }

  void check() const {
    if (model_.texts.empty()) fail(ErrorKind::kInvalidModel, "{}: there are no pieces", kFile);
    // SentencePiece always writes both, behind the pieces: a file without them is cut off.
    if (!has_trainer_) fail(ErrorKind::kInvalidModel, "{}: trainer_spec is missing", kFile);
    if (!has_normalizer_) fail(ErrorKind::kInvalidModel, "{}: normalizer_spec is missing", kFile);
    if (model_type_ != kBpe) {
      fail(ErrorKind::kUnsupported, "{}: trainer_spec.model_type is {}{}, supported is 2 (BPE)", kFile, model_type_,
           model_type_ == kUnigram ? " (unigram)" : "");
    }
    if (blank_as_suffix_) {
      fail(ErrorKind::kUnsupported, "{}: trainer_spec.treat_whitespace_as_suffix is true, supported is false", kFile);
    }
    if (charsmap_bytes_ > 0 && normalizer_ != "identity") {
      fail(ErrorKind::kUnsupported,
           "{}: normalizer_spec '{}' has a character map of {} bytes, supported is only 'identity' or none", kFile,
           printable(normalizer_), charsmap_bytes_);
    }
    if (!escapes_blanks_) {
      fail(ErrorKind::kUnsupported, "{}: normalizer_spec.escape_whitespaces is false, supported is true", kFile);
    }
    check_byte_pieces();
  }

  void check_byte_pieces() const {
    std::vector<bool> present(256);
    for (size_t id = 0; id < model_.texts.size(); ++id) {
      if (model_.types[id] != TokenType::kByte) continue;
      const int byte = byte_token_value(model_.texts[id]);
      if (byte < 0 || !model_.byte_fallback) {
        fail(ErrorKind::kInvalidModel, "{}: pieces[{}] '{}' has the type 6 (byte), {}", kFile, id,
             printable(model_.texts[id]), byte < 0 ? "expected a text <0xHH>" : "but byte_fallback is false");
      }
      present[static_cast<size_t>(byte)] = true;
    }
    const auto missing = std::find(present.begin(), present.end(), false);
    if (model_.byte_fallback && missing != present.end()) {
      fail(ErrorKind::kInvalidModel, "{}: byte_fallback is true, but there is no piece {} of type 6 (byte)", kFile,
           byte_token_text(static_cast<uint8_t>(missing - present.begin())));
    }
  }

  SentencePieceModel model_;
  bool has_trainer_ = false;
  bool has_normalizer_ = false;
  int32_t model_type_ = kUnigram;
  bool blank_as_suffix_ = false;
  bool escapes_blanks_ = true;
  std::string_view normalizer_;
  size_t charsmap_bytes_ = 0;
};

// Takes superfluous spaces away before Spm sees the text.
class CollapsingSpm : public RawEncoder {
 public:
  CollapsingSpm(const TokenTable& table, const std::vector<double>& scores)
      : spm_(table.vocabulary, scores, table.add_space_prefix, table.special.unknown) {}

  void encode(std::string_view raw, std::vector<int32_t>& ids, std::vector<std::string>* warnings) const override {
    const auto collapsed = buffers_.lease();
    std::string& text = *collapsed;
    text.clear();
    for (const char c : raw) {
      if (c != ' ' || (!text.empty() && text.back() != ' ')) text.push_back(c);
    }
    // SentencePiece removes escaped spaces here, so those that were written as U+2581 go too.
    for (;;) {
      if (!text.empty() && text.back() == ' ') {
        text.pop_back();
      } else if (ends_with_blank_symbol(text)) {
        text.resize(text.size() - kBlankSymbol.size());
      } else {
        break;
      }
    }
    spm_.encode(text, ids, warnings);
    trim_buffer(text);
  }

 private:
  static bool ends_with_blank_symbol(std::string_view text) {
    return text.size() >= kBlankSymbol.size() && text.substr(text.size() - kBlankSymbol.size()) == kBlankSymbol;
  }

  Spm spm_;
  mutable ObjectPool<std::string> buffers_;
};

}  // namespace

SentencePieceModel parse_sentencepiece(std::string_view file) {
  if (file.size() > kMaxFileBytes) {
    fail(ErrorKind::kInvalidModel, "{} has {} bytes, at most {} are allowed", kFile, file.size(), kMaxFileBytes);
  }
  if (is_tiktoken(file)) {
    fail(ErrorKind::kUnsupported,
         "{} is a tiktoken file (lines of base64 and a rank): it does not say how texts are cut into pieces, so it "
         "cannot be used without tokenizer.json",
         kFile);
  }
  return ModelReader().read(file);
}

std::unique_ptr<const RawEncoder> make_sentencepiece_encoder(const TokenTable& table, const std::vector<double>& scores,
                                                             bool remove_extra_whitespaces) {
  if (remove_extra_whitespaces) return std::make_unique<CollapsingSpm>(table, scores);
  return std::make_unique<Spm>(table.vocabulary, scores, table.add_space_prefix, table.special.unknown);
}

}  // namespace stretto::hf
