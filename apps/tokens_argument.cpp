#include "tokens_argument.h"

#include <charconv>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>

#include "base/error.h"
#include "checkpoint/safetensors.h"

namespace stretto::app {
namespace {

std::vector<int32_t> parse_ids(std::string_view text, const std::string& where) {
  static constexpr std::string_view kBlanks = ", \t\r\n[]";
  std::vector<int32_t> ids;
  while (true) {
    const size_t begin = text.find_first_not_of(kBlanks);
    if (begin == std::string_view::npos) return ids;
    text.remove_prefix(begin);
    const std::string_view word = text.substr(0, text.find_first_of(kBlanks));
    int32_t id = 0;
    const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), id);
    if (error != std::errc{} || end != word.data() + word.size() || id < 0)
      fail(ErrorKind::kBadArgument, "{}: \"{}\" is not a token id", where, word.substr(0, 40));
    ids.push_back(id);
    text.remove_prefix(word.size());
  }
}

bool looks_like_safetensors(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  char head[9] = {};
  in.read(head, 9);
  return in.gcount() == 9 && head[8] == '{';
}

std::vector<int32_t> tokens_of(const std::string& path) {
  const SafetensorsFile file = open_safetensors(path);
  const StoredTensor* t = file.find("tokens");
  if (t == nullptr) fail(ErrorKind::kBadArgument, "{}: no tensor named tokens", path);
  std::vector<int32_t> ids;
  const size_t size = t->view.type == DType::kI32 ? 4 : t->view.type == DType::kI64 ? 8 : 0;
  if (size == 0) fail(ErrorKind::kBadArgument, "{}: tokens is {}, wanted I32 or I64", path, name(t->view.type));
  for (uint64_t i = 0; i < t->view.shape.elements(); ++i) {
    int64_t wide = 0;
    int32_t narrow = 0;
    if (size == 8) std::memcpy(&wide, t->view.bytes.data() + i * 8, 8);
    if (size == 4) std::memcpy(&narrow, t->view.bytes.data() + i * 4, 4);
    const int64_t id = size == 8 ? wide : narrow;
    if (id < 0 || id > INT32_MAX) fail(ErrorKind::kBadArgument, "{}: tokens[{}] = {} is not a token id", path, i, id);
    ids.push_back(static_cast<int32_t>(id));
  }
  return ids;
}

}  // namespace

std::string read_file(const std::string& path) {
  if (path == "-") return {std::istreambuf_iterator<char>(std::cin), std::istreambuf_iterator<char>()};
  if (std::filesystem::is_directory(path)) fail(ErrorKind::kBadArgument, "{} is a directory, wanted a file", path);
  std::ifstream in(path, std::ios::binary);
  if (!in) fail(ErrorKind::kNotFound, "{}: no such file, or it cannot be read", path);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

std::vector<int32_t> parse_tokens(const std::string& argument) {
  if (!argument.starts_with("@")) return parse_ids(argument, "--tokens");
  const std::string path = argument.substr(1);
  if (path != "-" && looks_like_safetensors(path)) return tokens_of(path);
  return parse_ids(read_file(path), path);
}

}  // namespace stretto::app
