#include "text/small_vocabulary.h"

#include <fmt/format.h>

#include "text/byte_alphabet.h"
#include "text/utf8.h"
#include "text/vocabulary.h"

namespace stretto {

SmallVocabulary SmallVocabulary::byte_level(std::string_view pre) {
  SmallVocabulary v;
  v.model = "gpt2";
  v.pre = pre;
  for (int byte = 0; byte < 256; ++byte) {
    std::string text;
    append_utf8(text, byte_symbol(static_cast<uint8_t>(byte)));
    v.add(text);
  }
  return v;
}

SmallVocabulary SmallVocabulary::spm() {
  SmallVocabulary v;
  v.model = "llama";
  v.add("<unk>", 2);
  v.add("<s>", 3);
  v.add("</s>", 3);
  for (int byte = 0; byte < 256; ++byte) v.add(fmt::format("<0x{:02X}>", byte), 6);
  return v;
}

SmallVocabulary SmallVocabulary::gemma4() {
  SmallVocabulary v;
  v.model = "gemma4";
  v.add("<pad>", 3);
  v.add("<eos>", 3);
  v.add("<bos>", 3);
  for (int byte = 0; byte < 256; ++byte) v.add(fmt::format("<0x{:02X}>", byte), 6);
  v.extra.push_back({"tokenizer.ggml.bos_token_id", MetaValue::u32(2)});
  v.extra.push_back({"tokenizer.ggml.eos_token_id", MetaValue::u32(1)});
  return v;
}

int32_t SmallVocabulary::add(std::string text, int type, double score) {
  tokens.push_back(std::move(text));
  types.push_back(type);
  scores.push_back(score);
  return static_cast<int32_t>(tokens.size()) - 1;
}

int32_t SmallVocabulary::merge(const std::string& left, const std::string& right) {
  merges.push_back(left + " " + right);
  return add(left + right);
}

Metadata SmallVocabulary::metadata_with(const std::string& key, const MetaValue& value) const {
  std::vector<Metadata::Entry> entries = {
      {"tokenizer.ggml.model", MetaValue::string(model)},
      {"tokenizer.ggml.tokens", MetaValue::strings(tokens)},
      {"tokenizer.ggml.token_type", MetaValue::i32s(types)},
  };
  if (model == "llama") {
    entries.push_back({"tokenizer.ggml.scores", {MetaType::kArray, MetaType::kF32, scores}});
  } else {
    entries.push_back({"tokenizer.ggml.merges", MetaValue::strings(merges)});
  }
  if (!pre.empty()) entries.push_back({"tokenizer.ggml.pre", MetaValue::string(pre)});
  entries.insert(entries.end(), extra.begin(), extra.end());
  Metadata metadata;
  for (const Metadata::Entry& entry : entries) {
    if (entry.key != key) metadata.add(entry.key, entry.value);
  }
  if (value.type != MetaType::kNull) metadata.add(key, value);
  return metadata;
}

uint32_t Noise::below(uint32_t n) {
  state_ ^= state_ >> 12;
  state_ ^= state_ << 25;
  state_ ^= state_ >> 27;
  return static_cast<uint32_t>(((state_ * 2685821657736338717u) >> 32) % n);
}

std::string Noise::bytes(size_t length, uint32_t ascii_in_10) {
  static constexpr std::string_view kAscii = "aabbbccdehnorstuAEST 0129 .,!'\n\r\t  <|>";
  std::string out;
  while (out.size() < length) {
    out.push_back(below(10) < ascii_in_10 ? kAscii[below(kAscii.size())] : static_cast<char>(below(256)));
  }
  return out;
}

std::string Noise::text(size_t length) {
  static constexpr char32_t kCodePoints[] = {
      ' ',     ' ',     ' ',    '\n',    '\n',   '\r',   '\t',   0x85,   0xA0,   0x180E, 0x2003, 0x2028,
      0x3000,  'a',     'b',    's',     't',    'e',    'l',    'S',    'T',    'R',    'E',    0xE9,
      0x17F,   0x1C5,   0x2B0,  0x3B1,   0x416,  0x436,  0x5D0,  0x4E2D, 0x6587, 0x3042, 0x30AB, 0xAC00,
      0x20000, 0x10400, 0x300,  0x94D,   0x93F,  '0',    '1',    '7',    0x664,  0x2163, 0xBD,   '\'',
      '\'',    0x2019,  '.',    ',',     '!',    '/',    '<',    '=',    '$',    '~',    '_',    0x2014,
      0x3002,  0xFF0C,  0x20AC, 0x1F600, 0x200D, 0xFE0F, 0xE000, 0x2581, 0x0,    0x7F,   0x378,
  };
  std::string out;
  for (size_t i = 0; i < length; ++i) append_utf8(out, kCodePoints[below(std::size(kCodePoints))]);
  return out;
}

}  // namespace stretto
