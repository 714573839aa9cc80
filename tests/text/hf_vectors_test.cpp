#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "base/error.h"
#include "checkpoint/utf8.h"
#include "text/hf/normalizer.h"
#include "text/hf/piece_splitter.h"
#include "text/hf_files.h"
#include "text/small_vocabulary.h"

namespace stretto {
namespace {

using Ids = std::vector<int32_t>;

// Loadable for the library; refused here: not usable, or not what anybody means.
const std::set<std::string> kRefusedByUs = {"dropout_half",
                                            "vocab_duplicate_id",
                                            "vocab_max_id",
                                            "unk_not_in_vocab",
                                            "normalizer_no_type",
                                            "normalizer_empty_replace",
                                            "post_template_missing_special",
                                            "post_template_multi_ids",
                                            "post_template_no_sequence"};
// Refused by the library; here a key that nobody knows is a warning.
const std::set<std::string> kAcceptedByUs = {"unknown_top_key"};

class Comparison {
 public:
  explicit Comparison(std::string name) : name_(std::move(name)) {}
  template <class T>
  void expect(const T& have, const T& want, std::string_view what, const std::string& text) {
    ++n_;
    if (have == want) return;
    if (++n_bad_ <= 5) {
      EXPECT_EQ(have, want) << name_ << ": " << what << " of '" << printable(text, 200) << "'";
    }
  }
  void finish() const { EXPECT_EQ(n_bad_, 0u) << name_ << ": of " << n_ << " comparisons"; }
  size_t n() const { return n_; }

 private:
  std::string name_;
  size_t n_ = 0;
  size_t n_bad_ = 0;
};

const Json& or_else(const Json& object, const char* key, const Json& other) {
  const auto found = object.find(key);
  return found == object.end() ? other : *found;
}

void compare_case(const Tokenizer& tokenizer, const Json& item, Comparison& comparison) {
  const std::string text = item.at("text").get<std::string>();
  const Ids ids = item.at("ids").get<Ids>();
  const Json& raw = item.at("ids_raw");
  comparison.expect(tokenizer.encode(text), ids, "ids", text);
  comparison.expect(tokenizer.encode(text, {.add_special = false}), raw.get<Ids>(), "ids_raw", text);
  comparison.expect(tokenizer.encode(text, {.add_special = false, .parse_special = false}),
                    or_else(item, "ids_plain", raw).get<Ids>(), "ids_plain", text);
  const Json& decoded = item.at("decoded");
  comparison.expect(tokenizer.decode(ids, true), decoded.get<std::string>(), "decoded", text);
  comparison.expect(tokenizer.decode(ids, false), or_else(item, "decoded_skip", decoded).get<std::string>(),
                    "decoded_skip", text);
}

class TokJson : public testing::TestWithParam<std::string> {};

TEST_P(TokJson, AgreesWithTheLibrary) {
  const Json vectors = parse_tokjson(GetParam() + "/vectors.json");
  const auto tokenizer = make_hf_tokenizer_from(read_tokjson(GetParam() + "/tokenizer.json"));
  EXPECT_EQ(tokenizer->size(), vectors.at("vocab_size").get<int32_t>());
  Comparison comparison(GetParam());
  for (const Json& item : vectors.at("cases")) compare_case(*tokenizer, item, comparison);
  for (const Json& item : vectors.at("decode")) {
    const Ids ids = item.at("ids").get<Ids>();
    const Json& decoded = item.at("decoded");
    const std::string what = dump_json(item.at("ids"));
    comparison.expect(tokenizer->decode(ids, true), decoded.get<std::string>(), "decoded", what);
    comparison.expect(tokenizer->decode(ids, false), or_else(item, "decoded_skip", decoded).get<std::string>(),
                      "decoded_skip", what);
  }
  comparison.finish();
  EXPECT_GE(comparison.n(), 800u);
  RecordProperty("comparisons", static_cast<int>(comparison.n()));
}

TEST_P(TokJson, StepsAgreeWithTheLibrary) {
  const Json vectors = parse_tokjson(GetParam() + "/vectors.json");
  const Json json = parse_tokjson(GetParam() + "/tokenizer.json");
  hf::Warnings warnings;
  const hf::Normalizer normalizer(json.at("normalizer"), "normalizer", warnings);
  const hf::PieceSplitter splitter(json.at("pre_tokenizer"), "pre_tokenizer", warnings);
  EXPECT_TRUE(warnings.empty());
  Comparison comparison(GetParam());
  for (const Json& item : vectors.at("cases")) {
    const std::string text = item.at("text").get<std::string>();
    std::string normalized = text;
    normalizer.apply(normalized, nullptr);
    comparison.expect(normalized, or_else(item, "normalized", item.at("text")).get<std::string>(), "normalized", text);
    if (!item.contains("pieces")) continue;
    hf::Pieces pieces;
    pieces.reset(normalized, true);
    splitter.split(pieces, nullptr);
    std::vector<std::string> texts;
    for (const Span span : pieces.spans) texts.emplace_back(pieces.piece(span));
    comparison.expect(texts, item.at("pieces").get<std::vector<std::string>>(), "pieces", text);
  }
  comparison.finish();
  EXPECT_GE(comparison.n(), 160u);
  RecordProperty("comparisons", static_cast<int>(comparison.n()));
}

INSTANTIATE_TEST_SUITE_P(Pipelines, TokJson, testing::ValuesIn(tokjson_pipelines()),
                         [](const auto& info) { return info.param; });

TEST(HfTokenizer, AllPipelinesAreThere) { EXPECT_EQ(tokjson_pipelines().size(), 26u); }

TEST(HfTokenizer, Quirks) {
  const Json quirks = parse_tokjson("quirks.json");
  size_t n_loaded = 0;
  size_t n_refused = 0;
  for (const Json& item : quirks.at("cases")) {
    const std::string name = item.at("name").get<std::string>();
    SCOPED_TRACE(name);
    const bool wanted =
        (item.at("loads").get<bool>() || kAcceptedByUs.count(name) > 0) && kRefusedByUs.count(name) == 0;
    std::unique_ptr<const Tokenizer> tokenizer;
    try {
      tokenizer = make_hf_tokenizer_from(item.at("json").get<std::string>());
    } catch (const Error& e) {
      EXPECT_FALSE(wanted) << e.what();
      EXPECT_TRUE(e.kind() == ErrorKind::kInvalidModel || e.kind() == ErrorKind::kUnsupported) << e.what();
      EXPECT_NE(std::string(e.what()).find("tokenizer.json"), std::string::npos) << e.what();
      ++n_refused;
      continue;
    }
    EXPECT_TRUE(wanted);
    ++n_loaded;
    if (!item.contains("text") || item.at("text").is_null()) continue;
    const std::string text = item.at("text").get<std::string>();
    Ids ids = item.at("ids").get<Ids>();
    std::string decoded = item.at("decoded").get<std::string>();
    if (name == "truncation_present") {  // switched off
      ids = {2, 0, 2, 0, 2, 0};
      decoded = "c a c a c a";
    } else if (name == "padding_present") {
      ids = {2, 0};
      decoded = "c a";
    }
    EXPECT_EQ(tokenizer->encode(text), ids);
    EXPECT_EQ(tokenizer->decode(ids, true), decoded);
    for (const auto& [token, id] : item.at("vocab").items()) {
      if (!token.empty()) {
        EXPECT_EQ(tokenizer->text(id.get<int32_t>()), token);
      }
    }
  }
  EXPECT_EQ(n_loaded + n_refused, quirks.at("cases").size());
  EXPECT_EQ(n_loaded + n_refused, 85u);
}

// Byte-level files without normalizer, prefix space and strip flags give every text back.
TEST(HfTokenizer, ByteLevelTextsComeBack) {
  Noise noise(77);
  for (const char* name : {"llama3", "gptoss_o200k", "tekken", "deepseek_v3", "gpt2", "smollm", "cl100k_possessive"}) {
    const auto tokenizer = make_hf_tokenizer_from(read_tokjson(std::string(name) + "/tokenizer.json"));
    for (int i = 0; i < 200; ++i) {
      const std::string text = noise.text(1 + noise.below(80));
      EXPECT_EQ(tokenizer->decode(tokenizer->encode(text, {.add_special = false}), true), text) << name;
    }
  }
}

// Pieces one after the other are the decoded text, up to what decoders do to its beginning and to invalid bytes.
TEST(HfTokenizer, PiecesJoinToTheDecodedText) {
  Noise noise(78);
  for (const std::string& name : tokjson_pipelines()) {
    const auto tokenizer = make_hf_tokenizer_from(read_tokjson(name + "/tokenizer.json"));
    for (int i = 0; i < 50; ++i) {
      const Ids ids = tokenizer->encode(noise.text(1 + noise.below(40)), {.add_special = false});
      std::string joined;
      for (const int32_t id : ids) joined += tokenizer->piece(id, true);
      const std::string decoded = tokenizer->decode(ids, true);
      if (name == "eow_suffix") {
        EXPECT_EQ(joined.substr(0, decoded.size()), decoded) << name;
      } else if (joined != decoded) {
        ASSERT_FALSE(joined.empty());
        EXPECT_EQ(joined.substr(1), decoded) << name;
        EXPECT_EQ(joined.front(), ' ') << name;
      }
    }
  }
}

}  // namespace
}  // namespace stretto
