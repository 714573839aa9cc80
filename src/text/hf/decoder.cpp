#include "text/hf/decoder.h"

#include "base/error.h"
#include "checkpoint/utf8.h"
#include "text/byte_alphabet.h"
#include "text/hf/normalizer.h"
#include "text/hf/pattern.h"
#include "text/utf8.h"
#include "text/vocabulary.h"

namespace stretto::hf {
namespace {

std::string joined(const std::vector<std::string>& tokens) {
  std::string out;
  for (const std::string& token : tokens) out += token;
  return out;
}

std::string replaced(std::string_view text, std::string_view wanted, std::string_view content) {
  std::string out;
  size_t begin = 0;
  for (size_t at = text.find(wanted); at != std::string_view::npos; at = text.find(wanted, begin)) {
    out.append(text, begin, at - begin);
    out += content;
    begin = at + wanted.size();
  }
  out.append(text, begin);
  return out;
}

// Steps that see one token at a time.
class TokenStep : public DecoderStep {
 public:
  void decode(std::vector<std::string>& tokens) const override {
    for (std::string& token : tokens) decode_one(token);
  }
};

class ByteLevelDecoder : public DecoderStep {
 public:
  void decode(std::vector<std::string>& tokens) const override {
    for (std::string& token : tokens) decode_one(token);
    std::string text = replace_invalid_utf8(joined(tokens));
    tokens.clear();
    tokens.push_back(std::move(text));
  }
  bool decode_one(std::string& token) const override {
    for (size_t at = 0; at < token.size();) {
      const size_t length = utf8_length_at(token, at);
      if (length == 0 || symbol_byte(utf8_code_point(token, at, length)) < 0) return true;
      at += length;
    }
    token = bytes_of_symbols(token);
    return true;
  }
};

class ReplaceDecoder : public TokenStep {
 public:
  ReplaceDecoder(Pattern pattern, std::string content) : pattern_(std::move(pattern)), content_(std::move(content)) {}
  bool decode_one(std::string& token) const override {
    std::string out;
    pattern_.replace(token, content_, out, nullptr);
    token = std::move(out);
    return true;
  }

 private:
  Pattern pattern_;
  std::string content_;
};

class ByteFallbackDecoder : public DecoderStep {
 public:
  void decode(std::vector<std::string>& tokens) const override {
    std::vector<std::string> out;
    std::string run;
    const auto flush = [&] {
      if (run.empty()) return;
      if (is_valid_utf8(run)) {
        out.push_back(run);
      } else {
        out.insert(out.end(), run.size(), std::string(kReplacementCharacter));
      }
      run.clear();
    };
    for (std::string& token : tokens) {
      const int byte = byte_token_value(token);
      if (byte >= 0) {
        run.push_back(static_cast<char>(byte));
        continue;
      }
      flush();
      out.push_back(std::move(token));
    }
    flush();
    tokens = std::move(out);
  }
  bool decode_one(std::string& token) const override {
    const int byte = byte_token_value(token);
    if (byte < 0) return true;
    token.assign(1, static_cast<char>(byte));
    return false;
  }
};

class FuseDecoder : public DecoderStep {
 public:
  void decode(std::vector<std::string>& tokens) const override {
    std::string text = joined(tokens);
    tokens.clear();
    tokens.push_back(std::move(text));
  }
  // What follows concerns the text as a whole: its beginning and its end.
  bool decode_one(std::string&) const override { return false; }
};

class StripDecoder : public TokenStep {
 public:
  StripDecoder(char32_t content, uint64_t start, uint64_t stop) : start_(start), stop_(stop) {
    append_utf8(content_, content);
  }
  bool decode_one(std::string& token) const override {
    std::string_view rest = token;
    const size_t n = content_.size();
    for (uint64_t i = 0; i < start_ && rest.substr(0, n) == content_; ++i) rest.remove_prefix(n);
    for (uint64_t i = 0; i < stop_ && rest.size() >= n && rest.substr(rest.size() - n) == content_; ++i) {
      rest.remove_suffix(n);
    }
    token = std::string(rest);
    return true;
  }

 private:
  std::string content_;
  uint64_t start_;
  uint64_t stop_;
};

class MetaspaceDecoder : public DecoderStep {
 public:
  MetaspaceDecoder(char32_t replacement, bool keeps_first) : keeps_first_(keeps_first) {
    append_utf8(replacement_, replacement);
  }
  void decode(std::vector<std::string>& tokens) const override {
    for (size_t i = 0; i < tokens.size(); ++i) {
      tokens[i] = replaced(tokens[i], replacement_, i == 0 && !keeps_first_ ? "" : " ");
    }
  }
  bool decode_one(std::string& token) const override {
    token = replaced(token, replacement_, " ");
    return true;
  }

 private:
  std::string replacement_;
  bool keeps_first_;
};

class SuffixDecoder : public DecoderStep {
 public:
  explicit SuffixDecoder(std::string suffix) : suffix_(std::move(suffix)) {}
  void decode(std::vector<std::string>& tokens) const override {
    for (size_t i = 0; i < tokens.size(); ++i) {
      tokens[i] = replaced(tokens[i], suffix_, i + 1 == tokens.size() ? "" : " ");
    }
  }
  bool decode_one(std::string& token) const override {
    token = replaced(token, suffix_, " ");
    return true;
  }

 private:
  std::string suffix_;
};

std::unique_ptr<const DecoderStep> make_metaspace(Fields& fields) {
  const char32_t replacement = fields.character("replacement");
  const std::string scheme = fields.optional_text("prepend_scheme").value_or("always");
  if (scheme != "always" && scheme != "first" && scheme != "never") {
    fail(ErrorKind::kInvalidModel, "{} is \"{}\", expected always, first or never", fields.path_of("prepend_scheme"),
         printable(scheme));
  }
  fields.optional_flag("add_prefix_space");
  fields.optional_flag("split");
  return std::make_unique<MetaspaceDecoder>(replacement, scheme == "never");
}

std::unique_ptr<const DecoderStep> make_replace(Fields& fields) {
  Pattern pattern = Pattern::read(fields, "pattern");
  if (pattern.is_empty_literal()) {
    fail(ErrorKind::kUnsupported, "{}: an empty pattern is not supported", fields.path());
  }
  return std::make_unique<ReplaceDecoder>(std::move(pattern), fields.text("content"));
}

std::unique_ptr<const DecoderStep> make_step(const std::string& type, Fields& fields) {
  if (type == "ByteLevel") {
    for (const char* key : {"add_prefix_space", "trim_offsets", "use_regex"}) fields.optional_flag(key);
    return std::make_unique<ByteLevelDecoder>();
  }
  if (type == "Replace") return make_replace(fields);
  if (type == "ByteFallback") return std::make_unique<ByteFallbackDecoder>();
  if (type == "Fuse") return std::make_unique<FuseDecoder>();
  if (type == "Strip") {
    const char32_t content = fields.character("content");
    const uint64_t start = fields.unsigned_integer("start", UINT32_MAX);
    return std::make_unique<StripDecoder>(content, start, fields.unsigned_integer("stop", UINT32_MAX));
  }
  if (type == "Metaspace") return make_metaspace(fields);
  if (type == "BPEDecoder") {
    std::string suffix = fields.text("suffix");
    if (suffix.empty()) fail(ErrorKind::kUnsupported, "{} is empty", fields.path_of("suffix"));
    return std::make_unique<SuffixDecoder>(std::move(suffix));
  }
  fail(ErrorKind::kUnsupported, "{}.type is \"{}\", an unsupported decoder", fields.path(), printable(type));
}

}  // namespace

Decoder::Decoder(const Json& json, std::string_view path, Warnings& warnings) : joins_with_blank_(json.is_null()) {
  if (!json.is_null()) add(json, std::string(path), 0, warnings);
}

void Decoder::add(const Json& json, const std::string& path, int depth, Warnings& warnings) {
  if (depth >= kMaxNesting) fail(ErrorKind::kInvalidModel, "{}: nested deeper than {} levels", path, kMaxNesting);
  Fields fields(json, path);
  const std::string type = fields.text("type");
  if (type == "Sequence") {
    const Json& items = fields.array("decoders");
    for (size_t i = 0; i < items.size(); ++i) {
      add(items[i], fmt::format("{}.decoders[{}]", path, i), depth + 1, warnings);
    }
  } else {
    if (steps_.size() >= kMaxSteps) fail(ErrorKind::kInvalidModel, "{}: more than {} steps", path, kMaxSteps);
    steps_.push_back(make_step(type, fields));
  }
  fields.report_unread(warnings);
}

std::string Decoder::decode(std::vector<std::string> tokens) const {
  if (!joins_with_blank_) {
    for (const auto& step : steps_) step->decode(tokens);
    return joined(tokens);
  }
  std::string out;
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (i > 0) out.push_back(' ');
    out += tokens[i];
  }
  return out;
}

std::string Decoder::piece(std::string_view token) const {
  std::string out;
  if (joins_with_blank_) out = " ";
  out += token;
  for (const auto& step : steps_) {
    if (!step->decode_one(out)) break;
  }
  return out;
}

}  // namespace stretto::hf
