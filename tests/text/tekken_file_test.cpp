#include <gtest/gtest.h>

#include <functional>
#include <map>

#include "base/error.h"
#include "base/json.h"
#include "text/cpu_seconds.h"
#include "text/hf_tokenizer.h"
#include "text/small_vocabulary.h"
#include "text/tekken_json.h"
#include "text/utf8.h"

namespace stretto {
namespace {

using Ids = std::vector<int32_t>;

constexpr EncodeOptions kPlain{.add_special = false, .parse_special = false};
constexpr int32_t kSpecials = 6;

// Ranks 0..255 are the bytes, so 'a' is id 6 + 97; then 256 bc, 257 ab, 258 abcd, 259 xyz, 260 yz, 261 " a".
std::vector<std::string> byte_tokens() {
  std::vector<std::string> tokens;
  for (int byte = 0; byte < 256; ++byte) tokens.emplace_back(1, static_cast<char>(byte));
  return tokens;
}

std::vector<std::string> small_tokens() {
  std::vector<std::string> tokens = byte_tokens();
  for (const char* text : {"bc", "ab", "abcd", "xyz", "yz", " a"}) tokens.emplace_back(text);
  return tokens;
}

Json small_tekken() {
  Json json = tekken_json(small_tokens(), kSpecials);
  json["special_tokens"] = Json::array();
  const std::pair<const char*, bool> specials[] = {{"<unk>", true}, {"<s>", true}, {"</s>", true}, {"[THINK]", false}};
  for (const auto& [text, control] : specials) {
    json["special_tokens"].push_back(
        {{"rank", json["special_tokens"].size()}, {"token_str", text}, {"is_control", control}});
  }
  return json;
}

HfTokenizerFiles files_with(std::string text) {
  HfTokenizerFiles files;
  files.tekken_json = std::move(text);
  return files;
}

std::unique_ptr<const Tokenizer> load(const Json& json) { return make_hf_tokenizer(files_with(dump_json(json))); }

int32_t byte_id(char c) { return kSpecials + static_cast<uint8_t>(c); }

TEST(TekkenFile, IdsByHand) {
  const auto t = load(small_tekken());
  ASSERT_EQ(t->size(), kSpecials + 262);
  constexpr int32_t kBc = kSpecials + 256, kAb = kSpecials + 257, kAbcd = kSpecials + 258, kXyz = kSpecials + 259;
  EXPECT_EQ(t->encode("ab", kPlain), (Ids{kAb}));
  EXPECT_EQ(t->encode("abc", kPlain), (Ids{byte_id('a'), kBc}));  // bc has the lower rank, abc is no token
  EXPECT_EQ(t->encode("abcd", kPlain), (Ids{kAbcd}));             // the whole piece; no merge leads there
  EXPECT_EQ(t->encode("abcde", kPlain), (Ids{byte_id('a'), kBc, byte_id('d'), byte_id('e')}));
  EXPECT_EQ(t->encode("qxyz", kPlain), (Ids{byte_id('q'), kXyz}));  // yz first, then x + yz, although 259 < 260
  EXPECT_EQ(t->encode("abab", kPlain), (Ids{kAb, kAb}));
  EXPECT_EQ(t->encode("b ab", kPlain), (Ids{byte_id('b'), byte_id(' '), kAb}));  // " ab": ab (257) before " a" (261)
  EXPECT_EQ(t->encode("\xC3\xA9", kPlain), (Ids{byte_id('\xC3'), byte_id('\xA9')}));
  EXPECT_EQ(t->encode("12", kPlain), (Ids{byte_id('1'), byte_id('2')}));
  EXPECT_EQ(t->encode("\xFF", kPlain), (Ids{byte_id('\xEF'), byte_id('\xBF'), byte_id('\xBD')}));  // U+FFFD
  EXPECT_EQ(t->encode("", {}), (Ids{1}));
  EXPECT_EQ(t->encode("ab", {}), (Ids{1, kAb}));
}

TEST(TekkenFile, SpecialTokens) {
  const auto t = load(small_tekken());
  EXPECT_EQ(t->bos(), 1);
  EXPECT_EQ(t->eos(), 2);
  EXPECT_EQ(t->special().unknown, 0);
  EXPECT_EQ(t->text(4), "<SPECIAL_4>");
  EXPECT_EQ(t->text(5), "<SPECIAL_5>");
  EXPECT_EQ(t->type(1), TokenType::kControl);
  EXPECT_EQ(t->type(3), TokenType::kUserDefined);
  EXPECT_EQ(t->type(5), TokenType::kControl);
  EXPECT_TRUE(t->is_eog(2));
  EXPECT_EQ(t->encode("a</s><SPECIAL_5>"), (Ids{1, byte_id('a'), 2, 5}));
  EXPECT_EQ(t->encode("<s>", kPlain), (Ids{byte_id('<'), byte_id('s'), byte_id('>')}));
  EXPECT_EQ(t->encode("[THINK]a", kPlain), (Ids{3, byte_id('a')}));
  EXPECT_EQ(t->decode(Ids{1, byte_id('a'), 3, kSpecials + 261}, false), "a[THINK] a");
  EXPECT_EQ(make_hf_tokenizer(files_with(dump_json(small_tekken())), {.add_bos = false})->encode("ab"),
            (Ids{kSpecials + 257}));
}

TEST(TekkenFile, AnOrdinaryTokenSpelledLikeASpecialOne) {
  std::vector<std::string> tokens = byte_tokens();
  tokens.emplace_back("</");
  tokens.emplace_back("</s");
  tokens.emplace_back("</s>");
  const auto t = load(tekken_json(tokens, 20));
  EXPECT_EQ(t->bos(), 1);
  EXPECT_EQ(t->eos(), 2);
  EXPECT_TRUE(t->is_eog(2));
  EXPECT_FALSE(t->is_eog(20 + 258));
  EXPECT_EQ(t->encode("</s>"), (Ids{1, 2}));
  EXPECT_NE(t->encode("</s>", kPlain), (Ids{2}));
}

TEST(TekkenFile, TheFirstFilesListNoSpecialTokens) {
  const auto t = load(tekken_json(small_tokens(), 22));
  const std::pair<int32_t, const char*> some[] = {
      {0, "<unk>"},        {1, "<s>"},    {2, "</s>"},      {3, "[INST]"},
      {9, "[TOOL_CALLS]"}, {11, "<pad>"}, {16, "[SUFFIX]"}, {19, "[TOOL_CONTENT]"},
      {20, "<SPECIAL_20>"}};
  for (const auto& [id, text] : some) EXPECT_EQ(t->text(id), text);
  EXPECT_EQ(t->special().padding, 11);
  EXPECT_EQ(t->encode("[INST]ab[/INST]"), (Ids{1, 3, 22 + 257, 4}));
}

TEST(TekkenFile, OnlyRanksOfTheDefaultSizeCount) {
  Json json = small_tekken();
  json["config"]["default_vocab_size"] = kSpecials + 257;  // bc, nothing behind it
  const auto t = load(json);
  EXPECT_EQ(t->size(), kSpecials + 257);
  EXPECT_EQ(t->encode("abcd", kPlain), (Ids{byte_id('a'), kSpecials + 256, byte_id('d')}));
}

// The rule, written out: O(n^3), on bytes.
Ids merge_slowly(const std::vector<std::string>& tokens, const std::string& piece) {
  std::map<std::string, int32_t> ranks;
  for (size_t rank = 0; rank < tokens.size(); ++rank) ranks[tokens[rank]] = static_cast<int32_t>(rank);
  std::vector<std::string> parts;
  for (const char c : piece) parts.emplace_back(1, c);
  if (ranks.count(piece) > 0) parts = {piece};
  for (;;) {
    int32_t best = INT32_MAX;
    size_t at = 0;
    for (size_t i = 0; i + 1 < parts.size(); ++i) {
      const auto found = ranks.find(parts[i] + parts[i + 1]);
      if (found == ranks.end() || found->second >= best) continue;
      best = found->second;
      at = i;
    }
    if (best == INT32_MAX) break;
    parts[at] += parts[at + 1];
    parts.erase(parts.begin() + static_cast<std::ptrdiff_t>(at) + 1);
  }
  Ids ids;
  for (const std::string& part : parts) ids.push_back(20 + ranks.at(part));
  return ids;
}

TEST(TekkenFile, RandomPiecesFollowTheRule) {
  std::vector<std::string> tokens = byte_tokens();
  Noise noise(31);
  while (tokens.size() < 700) {
    std::string token;
    for (uint32_t n = 2 + noise.below(4); n > 0; --n) token += "abc\xC3\xA9"[noise.below(5)];
    if (std::find(tokens.begin(), tokens.end(), token) == tokens.end()) tokens.push_back(token);
  }
  Json json = tekken_json(tokens, 20);
  json["config"]["pattern"] = "(?m:.+)";  // every text is one piece
  const auto t = load(json);
  for (int i = 0; i < 1500; ++i) {
    std::string text;
    for (uint32_t n = 1 + noise.below(i % 10 == 0 ? 150 : 30); n > 0; --n) {
      const uint32_t letter = noise.below(4);
      text += letter == 3 ? "\xC3\xA9" : std::string(1, "abc"[letter]);
    }
    ASSERT_EQ(t->encode(text, kPlain), merge_slowly(tokens, text)) << text;
  }
}

TEST(TekkenFile, AnyBytesComeBackAsValidText) {
  const auto t = load(small_tekken());
  Noise noise(32);
  for (int i = 0; i < 2000; ++i) {
    const std::string text = i % 2 == 0 ? noise.text(noise.below(80)) : noise.bytes(noise.below(100), noise.below(11));
    std::string storage;
    EXPECT_EQ(t->decode(t->encode(text, kPlain), false), sanitise_utf8(text, storage));
  }
  const double start = cpu_seconds();
  EXPECT_EQ(t->encode(std::string(1 << 20, 'b'), kPlain).size(), size_t{1} << 20);
  EXPECT_LT(cpu_seconds() - start, 3.0 * kSlowdown);
}

struct Malformed {
  const char* name;
  std::function<void(Json&)> change;
  const char* message;
};

const Malformed kMalformed[] = {
    {"no config", [](Json& j) { j.erase("config"); }, "tekken.json.config is missing"},
    {"no pattern", [](Json& j) { j["config"].erase("pattern"); }, "config.pattern is missing"},
    {"pattern number", [](Json& j) { j["config"]["pattern"] = 3; }, "config.pattern is 3"},
    {"pattern broken", [](Json& j) { j["config"]["pattern"] = "(a"; }, "config.pattern"},
    {"pattern dialect", [](Json& j) { j["config"]["pattern"] = "a{1,2}+"; }, "not supported"},
    {"no size", [](Json& j) { j["config"].erase("default_vocab_size"); }, "default_vocab_size is missing"},
    {"size large", [](Json& j) { j["config"]["default_vocab_size"] = 5'000'000; }, "is 5000000, expected an integer"},
    {"size negative", [](Json& j) { j["config"]["default_vocab_size"] = -1; }, "default_vocab_size is -1"},
    {"size zero", [](Json& j) { j["config"]["default_vocab_size"] = 0; }, "default_num_special_tokens is 6"},
    {"size above vocab", [](Json& j) { j["config"]["default_vocab_size"] = 1000; }, "no token of rank 262"},
    {"no specials count", [](Json& j) { j["config"].erase("default_num_special_tokens"); }, "is missing"},
    {"no vocab", [](Json& j) { j.erase("vocab"); }, "vocab is missing"},
    {"vocab object", [](Json& j) { j["vocab"] = Json::object(); }, "vocab is an object"},
    {"entry text", [](Json& j) { j["vocab"][3] = "x"; }, "vocab[3] is \"x\""},
    {"no rank", [](Json& j) { j["vocab"][3].erase("rank"); }, "vocab[3].rank is missing"},
    {"rank text", [](Json& j) { j["vocab"][3]["rank"] = "3"; }, "vocab[3].rank is \"3\""},
    {"rank twice", [](Json& j) { j["vocab"][3]["rank"] = 2; }, "vocab[3].rank is 2 for the second time"},
    {"rank gone", [](Json& j) { j["vocab"].erase(257); }, "no token of rank 257"},
    {"no bytes", [](Json& j) { j["vocab"][3].erase("token_bytes"); }, "token_bytes is missing"},
    {"bytes empty", [](Json& j) { j["vocab"][3]["token_bytes"] = ""; }, "token_bytes is \"\""},
    {"base64 length", [](Json& j) { j["vocab"][3]["token_bytes"] = "Aw="; }, "expected bytes in base64"},
    {"base64 letter", [](Json& j) { j["vocab"][3]["token_bytes"] = "A_=="; }, "expected bytes in base64"},
    {"base64 padding", [](Json& j) { j["vocab"][3]["token_bytes"] = "A==="; }, "expected bytes in base64"},
    {"base64 inside", [](Json& j) { j["vocab"][3]["token_bytes"] = "A=w="; }, "expected bytes in base64"},
    {"base64 bits", [](Json& j) { j["vocab"][3]["token_bytes"] = "Ax=="; }, "expected bytes in base64"},
    {"token too long", [](Json& j) { j["vocab"][257]["token_bytes"] = std::string(100000, 'A'); }, "has 75000 bytes"},
    {"bytes twice", [](Json& j) { j["vocab"][257]["token_bytes"] = "YmM="; }, "is 'bc', which another rank has"},
    {"byte missing", [](Json& j) { j["vocab"][3]["token_bytes"] = "YWE="; }, "no token for the byte 03"},
    {"specials object", [](Json& j) { j["special_tokens"] = Json::object(); }, "special_tokens is an object"},
    {"special rank", [](Json& j) { j["special_tokens"][1]["rank"] = 6; }, "special_tokens[1].rank is 6"},
    {"special rank twice", [](Json& j) { j["special_tokens"][1]["rank"] = 0; }, "rank is 0, which '<unk>' has"},
    {"special text twice", [](Json& j) { j["special_tokens"][1]["token_str"] = "<unk>"; }, "is '<unk>', which"},
    {"special text empty", [](Json& j) { j["special_tokens"][1]["token_str"] = ""; }, "has 0 bytes"},
    {"special without text", [](Json& j) { j["special_tokens"][1].erase("token_str"); }, "token_str is missing"},
    {"special without flag", [](Json& j) { j["special_tokens"][1].erase("is_control"); }, "is_control is missing"},
    {"special named like a filler", [](Json& j) { j["special_tokens"][1]["token_str"] = "<SPECIAL_5>"; },
     "which another special token is too"},
    {"no bos", [](Json& j) { j["special_tokens"].erase(1); }, "has no '<s>'"},
};

TEST(TekkenFile, EveryVariantIsRefusedWithItsPath) {
  for (const Malformed& variant : kMalformed) {
    SCOPED_TRACE(variant.name);
    Json json = small_tekken();
    variant.change(json);
    try {
      load(json);
      ADD_FAILURE() << "not refused";
    } catch (const Error& e) {
      EXPECT_TRUE(e.kind() == ErrorKind::kInvalidModel || e.kind() == ErrorKind::kUnsupported) << e.what();
      EXPECT_NE(std::string(e.what()).find(variant.message), std::string::npos) << e.what();
      EXPECT_NE(std::string(e.what()).find("tekken.json"), std::string::npos) << e.what();
    }
  }
}

TEST(TekkenFile, CutAnywhereIsRefused) {
  const std::string good = dump_json(small_tekken());
  for (size_t n = 0; n < good.size(); n += n < 400 ? 1 : 7) {
    EXPECT_THROW(make_hf_tokenizer(files_with(good.substr(0, n))), Error) << n;
  }
}

}  // namespace
}  // namespace stretto
