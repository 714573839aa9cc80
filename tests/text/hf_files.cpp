#include "text/hf_files.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>

namespace stretto {

std::string read_tokjson(const std::string& name) {
  std::ifstream in(std::filesystem::path(STRETTO_TEST_DATA) / "tokjson" / name, std::ios::binary);
  if (!in) throw std::runtime_error("no test data " + name);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

Json parse_tokjson(const std::string& name) {
  return parse_json(read_tokjson(name), name, {.wide_integers_as_double = true});
}

std::vector<std::string> tokjson_pipelines() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(std::filesystem::path(STRETTO_TEST_DATA) / "tokjson")) {
    if (entry.is_directory()) names.push_back(entry.path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

std::unique_ptr<const Tokenizer> make_hf_tokenizer_from(std::string tokenizer_json) {
  HfTokenizerFiles files;
  files.tokenizer_json = std::move(tokenizer_json);
  return make_hf_tokenizer(files);
}

Json small_tokenizer_json() {
  Json vocab = Json::object();
  for (char c = 'a'; c <= 'z'; ++c) vocab[std::string(1, c)] = c - 'a';
  for (const char* text : {"ab", "bc", "abc", " ", "<unk>"}) vocab[text] = vocab.size();
  const Json merges = Json::array({Json::array({"a", "b"}), Json::array({"ab", "c"}), Json::array({"b", "c"})});
  Json json = {
      {"version", "1.0"},      {"truncation", nullptr},    {"padding", nullptr},        {"added_tokens", Json::array()},
      {"normalizer", nullptr}, {"pre_tokenizer", nullptr}, {"post_processor", nullptr}, {"decoder", nullptr}};
  json["model"] = {{"type", "BPE"}, {"dropout", nullptr}, {"unk_token", nullptr}, {"vocab", vocab}, {"merges", merges}};
  return json;
}

}  // namespace stretto
