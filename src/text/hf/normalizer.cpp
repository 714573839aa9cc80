#include "text/hf/normalizer.h"

#include "base/error.h"
#include "checkpoint/utf8.h"
#include "text/byte_alphabet.h"
#include "text/hf/characters.h"
#include "text/hf/normal_form.h"
#include "text/hf/pattern.h"
#include "text/utf8.h"

namespace stretto::hf {
namespace {

class NormalFormStep : public NormalizerStep {
 public:
  explicit NormalFormStep(NormalForm form) : form_(form) {}
  void apply(std::string_view text, std::string& out, Warnings*) const override { to_normal_form(form_, text, out); }

 private:
  NormalForm form_;
};

class ReplaceStep : public NormalizerStep {
 public:
  ReplaceStep(Pattern pattern, std::string content) : pattern_(std::move(pattern)), content_(std::move(content)) {}
  void apply(std::string_view text, std::string& out, Warnings* warnings) const override {
    pattern_.replace(text, content_, out, warnings);
  }

 private:
  Pattern pattern_;
  std::string content_;
};

class PrependStep : public NormalizerStep {
 public:
  explicit PrependStep(std::string prefix) : prefix_(std::move(prefix)) {}
  void apply(std::string_view text, std::string& out, Warnings*) const override {
    out.clear();
    if (!text.empty()) out = prefix_;
    out += text;
  }

 private:
  std::string prefix_;
};

class StripStep : public NormalizerStep {
 public:
  StripStep(bool left, bool right) : left_(left), right_(right) {}
  void apply(std::string_view text, std::string& out, Warnings*) const override {
    size_t begin = text.size();
    size_t end = 0;
    for (size_t at = 0; at < text.size();) {
      const size_t length = utf8_length_at(text, at);
      if (!is_white_space(utf8_code_point(text, at, length))) {
        begin = std::min(begin, at);
        end = at + length;
      }
      at += length;
    }
    if (!left_) begin = 0;
    if (!right_) end = text.size();
    out.assign(begin < end ? text.substr(begin, end - begin) : std::string_view());
  }

 private:
  bool left_;
  bool right_;
};

// Steps that look at one character after the other.
template <class Append>
class CharacterStep : public NormalizerStep {
 public:
  explicit CharacterStep(Append append) : append_(append) {}
  void apply(std::string_view text, std::string& out, Warnings*) const override {
    out.clear();
    out.reserve(text.size());
    for (size_t at = 0; at < text.size();) {
      const size_t length = utf8_length_at(text, at);
      append_(out, utf8_code_point(text, at, length));
      at += length;
    }
  }

 private:
  Append append_;
};

template <class Append>
std::unique_ptr<const NormalizerStep> character_step(Append append) {
  return std::make_unique<CharacterStep<Append>>(append);
}

class ByteAlphabetStep : public NormalizerStep {
 public:
  void apply(std::string_view text, std::string& out, Warnings*) const override {
    out.clear();
    append_byte_symbols(out, text);
  }
};

std::unique_ptr<const NormalizerStep> make_replace(Fields& fields) {
  Pattern pattern = Pattern::read(fields, "pattern");
  if (pattern.is_empty_literal()) {
    fail(ErrorKind::kUnsupported, "{}: an empty pattern is not supported", fields.path());
  }
  return std::make_unique<ReplaceStep>(std::move(pattern), fields.text("content"));
}

std::unique_ptr<const NormalizerStep> make_step(const std::string& type, Fields& fields) {
  if (type == "NFC") return std::make_unique<NormalFormStep>(NormalForm::kNfc);
  if (type == "NFD") return std::make_unique<NormalFormStep>(NormalForm::kNfd);
  if (type == "NFKC") return std::make_unique<NormalFormStep>(NormalForm::kNfkc);
  if (type == "NFKD") return std::make_unique<NormalFormStep>(NormalForm::kNfkd);
  if (type == "Replace") return make_replace(fields);
  if (type == "Prepend") return std::make_unique<PrependStep>(fields.text("prepend"));
  if (type == "Strip") {
    const bool left = fields.flag("strip_left");
    return std::make_unique<StripStep>(left, fields.flag("strip_right"));
  }
  if (type == "Lowercase") return character_step(append_lower);
  if (type == "StripAccents") {
    return character_step([](std::string& out, char32_t c) {
      if (!is_combining_mark(c)) append_utf8(out, c);
    });
  }
  if (type == "ByteLevel") return std::make_unique<ByteAlphabetStep>();
  fail(ErrorKind::kUnsupported, "{}.type is \"{}\", an unsupported normalizer", fields.path(), printable(type));
}

}  // namespace

Normalizer::Normalizer(const Json& json, std::string_view path, Warnings& warnings) {
  if (!json.is_null()) add(json, std::string(path), 0, warnings);
}

void Normalizer::add(const Json& json, const std::string& path, int depth, Warnings& warnings) {
  if (depth >= kMaxNesting) fail(ErrorKind::kInvalidModel, "{}: nested deeper than {} levels", path, kMaxNesting);
  Fields fields(json, path);
  const std::string type = fields.text("type");
  if (type == "Sequence") {
    const Json& items = fields.array("normalizers");
    for (size_t i = 0; i < items.size(); ++i) {
      add(items[i], fmt::format("{}.normalizers[{}]", path, i), depth + 1, warnings);
    }
  } else {
    if (steps_.size() >= kMaxSteps) fail(ErrorKind::kInvalidModel, "{}: more than {} steps", path, kMaxSteps);
    steps_.push_back(make_step(type, fields));
  }
  fields.report_unread(warnings);
}

void Normalizer::apply(std::string& text, Warnings* warnings) const {
  std::string next;
  for (const auto& step : steps_) {
    step->apply(text, next, warnings);
    require_text_size(next.size());
    text.swap(next);
  }
}

}  // namespace stretto::hf
