#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"
#include "text/hf_tokenizer.h"
#include "text/sentencepiece_bytes.h"
#include "text/small_vocabulary.h"

namespace stretto {
namespace {

using Ids = std::vector<int32_t>;

constexpr EncodeOptions kPlain{.add_special = false, .parse_special = false};
const std::string kBlank = "\xE2\x96\x81";

// ids 259.. : blank, a, b, c, then merges and special ones
SmallVocabulary vocabulary() {
  SmallVocabulary v = SmallVocabulary::spm();
  for (const std::string& text : {kBlank, std::string("a"), std::string("b"), std::string("c")}) v.add(text);
  v.add(kBlank + "a", 1, 3);
  v.add("ab", 1, -2);
  v.add("bb", 1, 2.5);
  v.add(kBlank + kBlank, 1, 2);
  v.add("th", 1, 1);
  v.add("the", 1, 0.5);
  v.add("bc", 5, -1);
  v.add("<m>", 4);
  v.add("<|im_end|>", 3);
  return v;
}

HfTokenizerFiles files_with(std::string tokenizer_model) {
  HfTokenizerFiles files;
  files.tokenizer_model = std::move(tokenizer_model);
  return files;
}

std::unique_ptr<const Tokenizer> load(const SentencePieceBytes& bytes) {
  return make_hf_tokenizer(files_with(bytes.file()));
}

bool mentions(const std::vector<std::string>& lines, std::string_view what) {
  for (const std::string& line : lines) {
    if (line.find(what) != std::string::npos) return true;
  }
  return false;
}

void expect_refused(const std::string& file, ErrorKind kind, const std::string& message) {
  try {
    make_hf_tokenizer(files_with(file));
    ADD_FAILURE() << "not refused: " << message;
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), kind) << e.what();
    EXPECT_NE(std::string(e.what()).find(message), std::string::npos) << e.what();
    EXPECT_NE(std::string(e.what()).find("tokenizer.model"), std::string::npos) << e.what();
  }
}

TEST(SentencePieceFile, GivesTheIdsOfTheSameGguf) {
  for (const bool prefix : {true, false}) {
    const Metadata gguf = vocabulary().metadata_with("tokenizer.ggml.add_space_prefix", MetaValue::boolean(prefix));
    const auto want = make_tokenizer(gguf);
    const auto have = load(SentencePieceBytes(gguf));
    ASSERT_EQ(have->size(), want->size());
    EXPECT_EQ(have->bos(), 1);
    EXPECT_EQ(have->eos(), 2);
    EXPECT_EQ(have->special().unknown, 0);
    EXPECT_FALSE(have->special().padding.has_value());
    EXPECT_EQ(have->eog_ids(), want->eog_ids());
    for (int32_t id = 0; id < have->size(); ++id) {
      EXPECT_EQ(have->type(id), want->type(id)) << id;
      EXPECT_EQ(have->text(id), want->text(id)) << id;
      EXPECT_EQ(have->piece(id, true), want->piece(id, true)) << id;
      EXPECT_EQ(have->piece(id, false), want->piece(id, false)) << id;
    }
    Noise noise(21);
    for (int i = 0; i < 4000; ++i) {
      std::string text = i % 2 == 0 ? noise.text(noise.below(80)) : noise.bytes(noise.below(120), noise.below(11));
      if (i % 5 == 0) text.insert(noise.below(static_cast<uint32_t>(text.size()) + 1), "<m><|im_end|>");
      for (const bool special : {true, false}) {
        const EncodeOptions options{.add_special = special, .parse_special = special};
        const Ids ids = have->encode(text, options);
        ASSERT_EQ(ids, want->encode(text, options)) << text;
        ASSERT_EQ(have->decode(ids, special), want->decode(ids, special)) << text;
      }
    }
  }
}

TEST(SentencePieceFile, IdsByHand) {
  const auto t = load(SentencePieceBytes(vocabulary().metadata()));
  EXPECT_EQ(t->encode("abc"), (Ids{1, 263, 269}));  // bos; blank+a (3), then the unused b+c (-1)
  EXPECT_EQ(t->encode("b\xC3\xA9", kPlain), (Ids{259, 261, 3 + 0xC3, 3 + 0xA9}));
  EXPECT_EQ(t->decode(t->encode(" a  b", kPlain), false), " a  b");
  EXPECT_TRUE(mentions(t->warnings(), "tokenizer.model is read, with bos added"));
}

TEST(SentencePieceFile, ExtraWhitespacesAreRemoved) {
  SentencePieceBytes bytes(vocabulary().metadata());
  const auto kept = load(bytes);
  bytes.normalizer += proto_number(4, 1);
  const auto t = load(bytes);
  EXPECT_EQ(t->encode("  a   b ", kPlain), kept->encode("a b", kPlain));
  EXPECT_EQ(t->encode("a b " + kBlank + " ", kPlain), kept->encode("a b", kPlain));
  EXPECT_EQ(t->encode("a\t \n b", kPlain), kept->encode("a\t \n b", kPlain));  // only U+0020 counts
  EXPECT_EQ(t->encode("   ", kPlain), Ids{});
  EXPECT_EQ(t->encode(kBlank, kPlain), Ids{});
  EXPECT_EQ(t->encode(" ", {}), (Ids{1}));
  // Without the field: as the format's default says.
  bytes.normalizer = proto_bytes(1, "identity");
  EXPECT_EQ(load(bytes)->encode("  a   b ", kPlain), kept->encode("a b", kPlain));
  bytes.normalizer = proto_bytes(1, "identity") + proto_number(3, 0) + proto_number(4, 0);
  EXPECT_EQ(load(bytes)->encode("a", kPlain), (Ids{260}));
}

TEST(SentencePieceFile, UserDefinedBlanksMatchSpaces) {
  SmallVocabulary v = vocabulary();
  const int32_t three = v.add(kBlank + kBlank + kBlank, 4);
  SentencePieceBytes bytes(v.metadata());
  bytes.normalizer += proto_number(3, 0);
  const auto t = load(bytes);
  EXPECT_EQ(t->encode("a   b", kPlain), (Ids{260, three, 261}));
  EXPECT_EQ(t->decode(Ids{260, three, 261}, false), "a   b");
}

TEST(SentencePieceFile, WithoutByteTokensUnknownPerByte) {
  SentencePieceBytes bytes(vocabulary().metadata());
  bytes.pieces = proto_piece("<unk>", 0, 2) + proto_piece("<s>", 0, 3) + proto_piece("</s>", 0, 3) +
                 proto_piece("a", -1, 1) + proto_piece(kBlank, -2, 1);
  bytes.trainer += proto_number(35, 0) + proto_number(43, 99);
  const auto t = load(bytes);
  EXPECT_EQ(t->encode("a\xC3\xA9", {}), (Ids{1, 4, 3, 0, 0}));
  EXPECT_TRUE(mentions(t->warnings(), "no byte tokens"));
  EXPECT_TRUE(mentions(t->warnings(), "pad_id = 99 is outside"));
}

TEST(SentencePieceFile, SideFilesAddTokensAndStops) {
  const SmallVocabulary v = vocabulary();
  const auto n = static_cast<int32_t>(v.tokens.size());
  HfTokenizerFiles files = files_with(SentencePieceBytes(v.metadata()).file());
  files.tokenizer_config_json = R"({"bos_token": "<s>", "eos_token": "<|end|>", "chat_template": "T",
      "added_tokens_decoder": {"1": {"content": "<s>", "special": true},
                               "9000": {"content": "<|end|>", "special": true, "rstrip": true},
                               "9001": {"content": "<tool>"}}})";
  files.generation_config_json = R"({"eos_token_id": [2, 260]})";
  const auto t = make_hf_tokenizer(files);
  ASSERT_EQ(t->size(), n + 2);
  EXPECT_EQ(t->eos(), n);
  EXPECT_EQ(t->type(n), TokenType::kControl);
  EXPECT_EQ(t->type(n + 1), TokenType::kUserDefined);
  EXPECT_TRUE(t->is_eog(2) && t->is_eog(260) && t->is_eog(n));
  EXPECT_EQ(t->chat_template(), "T");
  EXPECT_EQ(t->encode("a<|end|> \na<tool>"), (Ids{1, 263, n, 263, n + 1}));
  EXPECT_TRUE(mentions(t->warnings(), "'<|end|>' says id 9000 and gets 272"));
  files.config_json = R"({"vocab_size": 273})";
  EXPECT_THROW(make_hf_tokenizer(files), Error);
}

TEST(SentencePieceFile, BosCanBeSwitchedOff) {
  HfTokenizerFiles files = files_with(SentencePieceBytes(vocabulary().metadata()).file());
  EXPECT_EQ(make_hf_tokenizer(files, {.add_bos = false})->encode("a"), (Ids{263}));
  files.tokenizer_config_json = R"({"add_bos_token": false})";
  EXPECT_EQ(make_hf_tokenizer(files)->encode("a"), (Ids{263}));
  EXPECT_EQ(make_hf_tokenizer(files, {.add_bos = true})->encode("a"), (Ids{1, 263}));
  EXPECT_THROW(make_hf_tokenizer(files, {.fix_mistral_regex = true}), Error);
}

TEST(SentencePieceFile, OtherVocabulariesComeFirst) {
  HfTokenizerFiles files = files_with("broken");
  EXPECT_TRUE(has_hf_tokenizer(files));
  files.vocab_json = R"({"a": 0, "b": 1, "ab": 2})";
  EXPECT_THROW(make_hf_tokenizer(files), Error);  // no merges.txt
  files.merges_txt = "#version: 0.2\r\na b\r\n\r\n";
  EXPECT_EQ(make_hf_tokenizer(files)->encode("abab"), (Ids{2, 2}));
  files.merges_txt = "a b";
  EXPECT_EQ(make_hf_tokenizer(files)->encode("aab"), (Ids{0, 2}));
  files.merges_txt = "a b\n\nb a\n";  // only the last line may be blank
  EXPECT_THROW(make_hf_tokenizer(files), Error);
}

TEST(SentencePieceFile, WhatIsNotSupportedIsNamed) {
  const SentencePieceBytes good(vocabulary().metadata());
  const auto with = [&](const std::string& trainer, const std::string& normalizer) {
    SentencePieceBytes bytes = good;
    bytes.trainer += trainer;
    bytes.normalizer += normalizer;
    return bytes.file();
  };
  constexpr ErrorKind kUnsupported = ErrorKind::kUnsupported;
  expect_refused(with(proto_number(3, 1), ""), kUnsupported, "model_type is 1 (unigram), supported is 2 (BPE)");
  expect_refused(with(proto_number(3, 4), ""), kUnsupported, "model_type is 4");
  expect_refused(with(proto_number(24, 1), ""), kUnsupported, "treat_whitespace_as_suffix");
  expect_refused(with("", proto_number(5, 0)), kUnsupported, "escape_whitespaces is false");
  expect_refused(with("", proto_bytes(1, "nmt_nfkc") + proto_bytes(2, "map")), kUnsupported,
                 "normalizer_spec 'nmt_nfkc' has a character map of 3 bytes");
  EXPECT_NO_THROW(make_hf_tokenizer(files_with(with("", proto_bytes(2, "map")))));  // identity
  EXPECT_NO_THROW(make_hf_tokenizer(files_with(with("", proto_bytes(1, "nfkc")))));
  for (const char* tiktoken : {"IQ== 0\nIg== 1\n", "IQ== 0", "IQ== 0\r\n", "a 1\n"}) {
    expect_refused(tiktoken, kUnsupported, "is a tiktoken file");
  }
}

TEST(SentencePieceFile, BrokenModelsAreRefused) {
  const SentencePieceBytes good(vocabulary().metadata());
  const auto tail = [](SentencePieceBytes bytes) {
    bytes.pieces.clear();
    return bytes.file();
  }(good);
  constexpr ErrorKind kInvalid = ErrorKind::kInvalidModel;
  expect_refused(tail, kInvalid, "there are no pieces");
  expect_refused("", kInvalid, "there are no pieces");
  expect_refused(good.pieces, kInvalid, "trainer_spec is missing");
  expect_refused(good.pieces + proto_bytes(2, good.trainer), kInvalid, "normalizer_spec is missing");
  const auto piece = [&](const std::string& fields) { return good.pieces + proto_bytes(1, fields) + tail; };
  expect_refused(piece(""), kInvalid, "pieces[272].piece has 0 bytes");
  expect_refused(piece(proto_bytes(1, std::string(65537, 'x'))), kInvalid, "has 65537 bytes");
  expect_refused(piece(proto_number(1, 3)), kInvalid, "pieces.piece at byte");
  expect_refused(piece(proto_bytes(1, "x") + proto_number(2, 3)), kInvalid, "is a varint (wire type 0), expected 4");
  expect_refused(piece(proto_bytes(1, "x") + proto_float(2, NAN)), kInvalid, "score is not a number");
  expect_refused(piece(proto_bytes(1, "x") + proto_number(3, 7)), kInvalid, "type is 7, expected 1 to 6");
  expect_refused(piece(proto_bytes(1, "x") + proto_number(3, 0)), kInvalid, "type is 0");
  expect_refused(piece(proto_bytes(1, "x") + proto_number(3, uint64_t{1} << 40)), kInvalid, "1099511627776");
  expect_refused(piece(proto_bytes(1, "x") + proto_number(3, 6)), kInvalid, "'x' has the type 6 (byte)");
  const auto trainer = [&](const std::string& fields) {
    SentencePieceBytes bytes = good;
    bytes.trainer += fields;
    return bytes.file();
  };
  expect_refused(trainer(proto_number(35, 2)), kInvalid, "byte_fallback at byte");
  expect_refused(trainer(proto_number(35, 0)), kInvalid, "but byte_fallback is false");
  expect_refused(trainer(proto_bytes(3, "")), kInvalid, "model_type at byte");
  expect_refused(trainer(proto_float(41, 1)), kInvalid, "bos_id at byte");
  expect_refused(trainer(proto_varint(50 << 3) + std::string(10, '\xFF')), kInvalid, "more than 64 bits");
  expect_refused(trainer(proto_varint(50 << 3) + std::string(9, '\xFF') + "\x02"), kInvalid, "more than 64 bits");
  expect_refused(trainer(proto_varint(50 << 3) + "\x80"), kInvalid, "ends inside the number");
  expect_refused(trainer(proto_varint(50 << 3 | 2) + proto_varint(UINT64_MAX)), kInvalid, "has a length of 184467");
  expect_refused(trainer(proto_varint(50 << 3 | 1) + "1234567"), kInvalid, "a value of 8 bytes");
  expect_refused(trainer(proto_varint(50 << 3 | 3)), kInvalid, "wire type 3");
  expect_refused(trainer(proto_varint(2)), kInvalid, "field number");
  expect_refused(trainer(proto_varint(uint64_t{1} << 33)), kInvalid, "field number");
  EXPECT_NO_THROW(make_hf_tokenizer(files_with(
      trainer(proto_number(900, UINT64_MAX) + proto_float(901, 1) + proto_varint(902 << 3 | 1) + "12345678"))));
  SentencePieceBytes twice = good;
  twice.pieces += proto_piece("ab", 0, 1);
  EXPECT_TRUE(mentions(load(twice)->warnings(), "1 token texts occur twice, the first is 'ab' (id 264)"));
}

TEST(SentencePieceFile, CutAnywhereIsRefused) {
  const SentencePieceBytes bytes(vocabulary().metadata());
  const std::string good = bytes.file();
  const size_t whole = good.size() - proto_bytes(5, proto_bytes(1, "")).size();  // what follows does not matter
  for (size_t n = 0; n < good.size(); ++n) {
    try {
      make_hf_tokenizer(files_with(good.substr(0, n)));
      EXPECT_EQ(n, whole);
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::kInvalidModel) << n << ": " << e.what();
    }
  }
}

TEST(SentencePieceFile, ChangedBytesNeverCrash) {
  const std::string good = SentencePieceBytes(vocabulary().metadata()).file();
  Noise noise(22);
  size_t n_loaded = 0;
  for (int i = 0; i < 3000; ++i) {
    std::string file = good;
    for (uint32_t n = 1 + noise.below(4); n > 0; --n) {
      file[noise.below(static_cast<uint32_t>(file.size()))] = static_cast<char>(noise.below(256));
    }
    try {
      const auto t = make_hf_tokenizer(files_with(file));
      for (const int32_t id : t->encode("abc the <m>\xFF")) ASSERT_LT(static_cast<uint32_t>(id), t->size());
      ++n_loaded;
    } catch (const Error& e) {
      EXPECT_TRUE(e.kind() == ErrorKind::kInvalidModel || e.kind() == ErrorKind::kUnsupported) << e.what();
    }
  }
  EXPECT_GT(n_loaded, 100u);
}

}  // namespace
}  // namespace stretto
