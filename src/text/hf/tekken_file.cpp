#include "text/hf/tekken_file.h"

#include <algorithm>
#include <iterator>
#include <optional>
#include <unordered_set>
#include <utility>

#include "base/error.h"
#include "checkpoint/utf8.h"
#include "text/byte_alphabet.h"
#include "text/hf/tokenizer_json.h"

namespace stretto::hf {
namespace {

constexpr const char* kFile = "tekken.json";

// The special tokens of the first files, which do not list them.
constexpr const char* kFirstSpecials[] = {"<unk>",
                                          "<s>",
                                          "</s>",
                                          "[INST]",
                                          "[/INST]",
                                          "[AVAILABLE_TOOLS]",
                                          "[/AVAILABLE_TOOLS]",
                                          "[TOOL_RESULTS]",
                                          "[/TOOL_RESULTS]",
                                          "[TOOL_CALLS]",
                                          "[IMG]",
                                          "<pad>",
                                          "[IMG_BREAK]",
                                          "[IMG_END]",
                                          "[PREFIX]",
                                          "[MIDDLE]",
                                          "[SUFFIX]",
                                          "[SYSTEM_PROMPT]",
                                          "[/SYSTEM_PROMPT]",
                                          "[TOOL_CONTENT]"};

int base64_digit(char c) {
  if (c >= 'A' && c <= 'Z') return c - 'A';
  if (c >= 'a' && c <= 'z') return c - 'a' + 26;
  if (c >= '0' && c <= '9') return c - '0' + 52;
  return c == '+' ? 62 : c == '/' ? 63 : -1;
}

// Strict: padded to a multiple of four, no blanks, unused bits zero.
std::optional<std::string> decode_base64(std::string_view text) {
  if (text.size() % 4 != 0) return std::nullopt;
  const size_t end = text.find('=');
  const std::string_view digits = text.substr(0, end);
  if (text.size() - digits.size() > 2 || text.find_first_not_of('=', digits.size()) != std::string_view::npos) {
    return std::nullopt;
  }
  std::string bytes;
  uint32_t bits = 0;
  int n_bits = 0;
  for (const char c : digits) {
    const int digit = base64_digit(c);
    if (digit < 0) return std::nullopt;
    bits = bits << 6 | static_cast<uint32_t>(digit);
    n_bits += 6;
    if (n_bits < 8) continue;
    n_bits -= 8;
    bytes.push_back(static_cast<char>(bits >> n_bits & 0xFF));
    bits &= (1u << n_bits) - 1;
  }
  return bits == 0 ? std::optional(bytes) : std::nullopt;
}

class TekkenReader {
 public:
  TekkenModel read(const Json& json) {
    Fields root(json, kFile);
    read_config(root.object("config"));
    read_specials(root);
    read_vocabulary(root);
    return std::move(model_);
  }

 private:
  void read_config(Fields config) {
    model_.pattern = config.text("pattern");
    // tiktoken reads {n,m}+ as a possessive repeat, the dialect of tokenizer.json as a repeat of a repeat.
    if (model_.pattern.find("}+") != std::string::npos) {
      fail(ErrorKind::kUnsupported, "{} is \"{}\": a '+' after '}}' is not supported", config.path_of("pattern"),
           printable(model_.pattern));
    }
    const uint64_t size = config.unsigned_integer("default_vocab_size", kMaxVocabulary);
    const uint64_t n_special = config.unsigned_integer("default_num_special_tokens", size);
    model_.n_special = static_cast<int32_t>(n_special);
    model_.texts.resize(size);
    model_.types.assign(size, TokenType::kNormal);
  }

  void add_special(size_t rank, std::string text, bool control, const std::string& path) {
    if (text.empty() || text.size() > kMaxTokenBytes) {
      fail(ErrorKind::kInvalidModel, "{}.token_str has {} bytes, expected 1 to {}", path, text.size(), kMaxTokenBytes);
    }
    if (!model_.texts[rank].empty()) {
      fail(ErrorKind::kInvalidModel, "{}.rank is {}, which '{}' has too", path, rank, printable(model_.texts[rank]));
    }
    if (!special_texts_.insert(text).second) {
      fail(ErrorKind::kInvalidModel, "{}.token_str is '{}', which another special token is too", path, printable(text));
    }
    model_.texts[rank] = std::move(text);
    model_.types[rank] = control ? TokenType::kControl : TokenType::kUserDefined;
  }

  void read_specials(Fields& root) {
    const auto n_special = static_cast<size_t>(model_.n_special);
    if (root.find("special_tokens") == nullptr) {
      for (size_t i = 0; i < std::min(n_special, std::size(kFirstSpecials)); ++i) {
        add_special(i, kFirstSpecials[i], true, root.path_of("special_tokens"));
      }
    } else {
      const Json& list = root.array("special_tokens");
      for (size_t i = 0; i < list.size(); ++i) {
        Fields token(list[i], fmt::format("{}[{}]", root.path_of("special_tokens"), i));
        const uint64_t rank = token.unsigned_integer("rank", UINT32_MAX);
        if (rank >= n_special) {
          fail(ErrorKind::kInvalidModel, "{} is {}, expected less than config.default_num_special_tokens = {}",
               token.path_of("rank"), rank, n_special);
        }
        add_special(rank, token.text("token_str"), token.flag("is_control"), token.path());
      }
    }
    for (size_t rank = 0; rank < n_special; ++rank) {
      if (!model_.texts[rank].empty()) continue;
      add_special(rank, fmt::format("<SPECIAL_{}>", rank), true, root.path_of("special_tokens"));
    }
  }

  void read_vocabulary(Fields& root) {
    const Json& list = root.array("vocab");
    const auto n_special = static_cast<size_t>(model_.n_special);
    const size_t n_ranks = model_.texts.size() - n_special;
    if (list.size() > kMaxVocabulary) {
      fail(ErrorKind::kInvalidModel, "{} has {} entries, at most {} are allowed", root.path_of("vocab"), list.size(),
           kMaxVocabulary);
    }
    std::vector<bool> single(256);
    std::unordered_set<std::string_view> seen;  // the texts do not move: their number is fixed
    for (size_t i = 0; i < list.size(); ++i) {
      Fields token(list[i], fmt::format("{}[{}]", root.path_of("vocab"), i));
      const uint64_t rank = token.unsigned_integer("rank", UINT32_MAX);
      if (rank >= n_ranks) continue;  // the file may hold more than the model uses
      const std::string bytes = read_bytes(token);
      std::string& text = model_.texts[n_special + rank];
      if (!text.empty()) fail(ErrorKind::kInvalidModel, "{} is {} for the second time", token.path_of("rank"), rank);
      append_byte_symbols(text, bytes);
      if (!seen.insert(text).second) {
        fail(ErrorKind::kInvalidModel, "{} is '{}', which another rank has too", token.path_of("token_bytes"),
             printable(bytes));
      }
      if (bytes.size() == 1) single[static_cast<uint8_t>(bytes[0])] = true;
    }
    if (seen.size() < n_ranks) refuse_gap(root, n_ranks);
    for (size_t byte = 0; byte < single.size(); ++byte) {
      if (single[byte]) continue;
      fail(ErrorKind::kInvalidModel, "{} has no token for the byte {:02X} alone", root.path_of("vocab"), byte);
    }
  }

  static std::string read_bytes(Fields& token) {
    const std::string encoded = token.text("token_bytes");
    std::optional<std::string> bytes = decode_base64(encoded);
    if (!bytes || bytes->empty()) {
      fail(ErrorKind::kInvalidModel, "{} is \"{}\", expected bytes in base64", token.path_of("token_bytes"),
           printable(encoded));
    }
    if (bytes->size() > kMaxTokenBytes) {
      fail(ErrorKind::kInvalidModel, "{} has {} bytes, at most {} are allowed", token.path_of("token_bytes"),
           bytes->size(), kMaxTokenBytes);
    }
    return *std::move(bytes);
  }

  [[noreturn]] void refuse_gap(const Fields& root, size_t n_ranks) const {
    size_t rank = 0;
    while (!model_.texts[static_cast<size_t>(model_.n_special) + rank].empty()) ++rank;
    fail(ErrorKind::kInvalidModel, "{} has no token of rank {}, expected all ranks below {}", root.path_of("vocab"),
         rank, n_ranks);
  }

  TekkenModel model_;
  std::unordered_set<std::string> special_texts_;
};

}  // namespace

TekkenModel parse_tekken(std::string_view file, Warnings& warnings) {
  if (file.size() > kMaxFileBytes) {
    fail(ErrorKind::kInvalidModel, "{} has {} bytes, at most {} are allowed", kFile, file.size(), kMaxFileBytes);
  }
  const Json json = parse_json(file, kFile);
  TekkenModel model = TekkenReader().read(json);
  if (!json.contains("special_tokens")) {
    warnings.push_back(fmt::format("{} lists no special tokens: those of Mistral's first such files are used", kFile));
  }
  return model;
}

}  // namespace stretto::hf
