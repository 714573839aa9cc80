// Real vocabularies and the ids their publishers' tokenizers give; they lie outside the repository (../shared/data).
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <sstream>

#include "checkpoint/checkpoint.h"
#include "text/byte_alphabet.h"
#include "text/hf_tokenizer.h"
#include "text/pretokenizer.h"
#include "text/sentencepiece_bytes.h"
#include "text/small_vocabulary.h"
#include "text/tekken_json.h"
#include "text/tokenizer.h"

namespace stretto {
namespace {

using nlohmann::json;

const std::filesystem::path kData = std::filesystem::path(STRETTO_SHARED) / "data";

#define SKIP_WITHOUT_SHARED() \
  if (!std::filesystem::exists(kData)) GTEST_SKIP() << "skipped: ../shared absent"

std::string read_file(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  EXPECT_TRUE(in) << path;
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

std::string from_hex(const std::string& hex) {
  std::string bytes;
  for (size_t i = 0; i + 1 < hex.size(); i += 2)
    bytes.push_back(static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16)));
  return bytes;
}

std::string to_hex(std::string_view bytes) {
  std::string hex;
  for (const char c : bytes) hex += fmt::format("{:02x}", static_cast<uint8_t>(c));
  return hex;
}

// Tokenizers by file name and forced pre-tokenizer; each vocabulary is read once.
const Tokenizer& tokenizer(const std::string& file, const std::string& pre = {}) {
  static std::map<std::string, std::unique_ptr<Checkpoint>> files;
  static std::map<std::pair<std::string, std::string>, std::unique_ptr<const Tokenizer>> tokenizers;
  std::unique_ptr<Checkpoint>& checkpoint = files[file];
  if (!checkpoint) checkpoint = open_checkpoint((kData / "vocab" / file).string(), {.metadata_only = true});
  std::unique_ptr<const Tokenizer>& result = tokenizers[{file, pre}];
  if (!result) result = make_tokenizer(checkpoint->metadata(), pre);
  return *result;
}

std::vector<std::string> input_cases(const std::filesystem::path& path) {
  static const std::string kSeparator = "\n__ggml_vocab_test__\n";
  const std::string all = read_file(path);
  std::vector<std::string> cases;
  size_t begin = 0;
  for (size_t at = all.find(kSeparator); at != std::string::npos; at = all.find(kSeparator, begin)) {
    cases.push_back(all.substr(begin, at - begin));
    begin = at + kSeparator.size();
  }
  if (begin < all.size()) cases.push_back(all.substr(begin));
  return cases;
}

std::vector<std::vector<int32_t>> output_cases(const std::filesystem::path& path) {
  std::vector<std::vector<int32_t>> cases;
  std::istringstream in(read_file(path));
  for (std::string line; std::getline(in, line);) {
    std::istringstream numbers(line);
    std::vector<int32_t>& ids = cases.emplace_back();
    for (int32_t id; numbers >> id;) ids.push_back(id);
  }
  return cases;
}

class VocabularyFile : public testing::TestWithParam<std::pair<const char*, size_t>> {};

TEST_P(VocabularyFile, GivesThePublishersIdsAndBack) {
  SKIP_WITHOUT_SHARED();
  const std::string file = fmt::format("ggml-vocab-{}.gguf", GetParam().first);
  const Tokenizer& t = tokenizer(file);
  const auto inputs = input_cases(kData / "vocab" / (file + ".inp"));
  const auto outputs = output_cases(kData / "vocab" / (file + ".out"));
  ASSERT_EQ(inputs.size(), GetParam().second);
  ASSERT_EQ(outputs.size(), inputs.size());
  for (size_t i = 0; i < inputs.size(); ++i) {
    const std::vector<int32_t> ids = t.encode(inputs[i], {.add_special = false, .parse_special = false});
    EXPECT_EQ(ids, outputs[i]) << "case " << i << ": " << inputs[i];
    EXPECT_EQ(t.decode(ids, false), inputs[i]) << "case " << i;
  }
}

INSTANTIATE_TEST_SUITE_P(All, VocabularyFile,
                         testing::Values(std::pair("llama-spm", 46u), std::pair("phi-3", 46u), std::pair("gpt-2", 46u),
                                         std::pair("deepseek-llm", 46u), std::pair("llama-bpe", 46u),
                                         std::pair("qwen2", 46u), std::pair("qwen35", 50u)),
                         [](const auto& info) {
                           std::string name = info.param.first;
                           for (char& c : name) c = c == '-' ? '_' : c;
                           return name;
                         });

std::unique_ptr<Checkpoint> open_vocabulary(const std::string& file) {
  return open_checkpoint((kData / "vocab" / file).string(), {.metadata_only = true});
}

// The same vocabularies written as tokenizer.model.
TEST(VocabularyAsTokenizerModel, GivesThePublishersIdsAndBack) {
  SKIP_WITHOUT_SHARED();
  for (const std::string name : {"llama-spm", "phi-3"}) {
    SCOPED_TRACE(name);
    const std::string file = fmt::format("ggml-vocab-{}.gguf", name);
    HfTokenizerFiles files;
    files.tokenizer_model = SentencePieceBytes(open_vocabulary(file)->metadata()).file();
    const auto t = make_hf_tokenizer(files);
    const auto inputs = input_cases(kData / "vocab" / (file + ".inp"));
    const auto outputs = output_cases(kData / "vocab" / (file + ".out"));
    ASSERT_EQ(outputs.size(), inputs.size());
    for (size_t i = 0; i < inputs.size(); ++i) {
      const std::vector<int32_t> ids = t->encode(inputs[i], {.add_special = false, .parse_special = false});
      EXPECT_EQ(ids, outputs[i]) << "case " << i << ": " << inputs[i];
      EXPECT_EQ(t->decode(ids, false), inputs[i]) << "case " << i;
    }
    Noise noise(41);
    for (int i = 0; i < 500; ++i) {
      const std::string text = i % 2 == 0 ? noise.text(100) : noise.bytes(100, 7);
      EXPECT_EQ(t->encode(text, {.parse_special = false}), tokenizer(file).encode(text, {.parse_special = false}));
    }
  }
}

// The vocabulary of GPT-2 is in the order of its merges, so it can be written as ranks: the two algorithms must agree.
TEST(VocabularyAsTekken, RanksGiveTheIdsOfMerges) {
  SKIP_WITHOUT_SHARED();
  const std::string file = "ggml-vocab-gpt-2.gguf";
  const auto checkpoint = open_vocabulary(file);
  std::vector<std::string> tokens;
  for (const std::string& text : *checkpoint->metadata().get_strings("tokenizer.ggml.tokens")) {
    if (text != "<|endoftext|>") tokens.push_back(bytes_of_symbols(text));
  }
  constexpr int32_t kSpecials = 100;
  HfTokenizerFiles files;
  files.tekken_json = tekken_json(tokens, kSpecials).dump();
  const auto t = make_hf_tokenizer(files);
  const Tokenizer& merges = tokenizer(file, "tekken");
  std::vector<std::string> texts = input_cases(kData / "vocab" / (file + ".inp"));
  Noise noise(42);
  for (int i = 0; i < 500; ++i) texts.push_back(i % 2 == 0 ? noise.text(100) : noise.bytes(100, 9));
  for (const std::string& text : texts) {
    std::vector<int32_t> want = merges.encode(text, {.add_special = false, .parse_special = false});
    for (int32_t& id : want) id += kSpecials;
    EXPECT_EQ(t->encode(text, {.add_special = false, .parse_special = false}), want) << text;
  }
}

const json& vectors() {
  static const json kVectors = json::parse(read_file(kData / "tokenizer_vectors.json"));
  return kVectors;
}

TEST(TokenizerVectors, Ids) {
  SKIP_WITHOUT_SHARED();
  size_t n = 0;
  for (const json& c : vectors().at("cases")) {
    const std::string pre = c.at("pre_override").is_null() ? "" : c.at("pre_override").get<std::string>();
    const Tokenizer& t = tokenizer(c.at("vocab"), pre);
    const std::string text = from_hex(c.at("text_utf8_hex"));
    const EncodeOptions options{.add_special = c.at("add_special"), .parse_special = c.at("parse_special")};
    EXPECT_EQ(t.encode(text, options), c.at("ids").get<std::vector<int32_t>>()) << "case " << n << ": " << c.dump();
    ++n;
  }
  EXPECT_EQ(n, 2181u);
}

TEST(TokenizerVectors, Pieces) {
  SKIP_WITHOUT_SHARED();
  size_t n = 0;
  for (const json& c : vectors().at("pieces")) {
    const Tokenizer& t = tokenizer(c.at("vocab"));
    EXPECT_EQ(to_hex(t.piece(c.at("id"), true)), c.at("bytes_hex")) << c.dump();
    EXPECT_EQ(to_hex(t.piece(c.at("id"), false)), c.at("bytes_hex_no_special")) << c.dump();
    ++n;
  }
  EXPECT_EQ(n, 480u);
}

TEST(TokenizerVectors, PreTokenizers) {
  SKIP_WITHOUT_SHARED();
  std::map<std::string, std::unique_ptr<PreTokenizer>> splitters;
  size_t n = 0;
  for (const json& c : vectors().at("presplit")) {
    const std::string pre = c.at("pre");
    std::unique_ptr<PreTokenizer>& splitter = splitters[pre];
    const PreRule* rule = find_pre_rule(pre);
    ASSERT_NE(rule, nullptr) << pre;
    if (!splitter) splitter = std::make_unique<PreTokenizer>(pre_patterns(rule->family));
    const std::string text = from_hex(c.at("text_utf8_hex"));
    std::vector<Span> pieces;
    splitter->split(text, pieces, nullptr);
    std::vector<std::string> hex;
    for (const Span piece : pieces) hex.push_back(to_hex(std::string_view(text).substr(piece.begin, piece.length)));
    EXPECT_EQ(hex, c.at("pieces_hex").get<std::vector<std::string>>()) << c.dump();
    ++n;
  }
  EXPECT_EQ(n, 610u);
}

}  // namespace
}  // namespace stretto
