#include "text/tekken_json.h"

namespace stretto {

std::string base64(std::string_view bytes) {
  static constexpr std::string_view kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  for (size_t at = 0; at < bytes.size(); at += 3) {
    uint32_t bits = 0;
    for (size_t i = 0; i < 3; ++i) bits = bits << 8 | (at + i < bytes.size() ? static_cast<uint8_t>(bytes[at + i]) : 0);
    for (size_t i = 0; i < 4; ++i) out += at + i > bytes.size() ? '=' : kDigits[bits >> (18 - 6 * i) & 63];
  }
  return out;
}

Json tekken_json(const std::vector<std::string>& tokens, int n_special) {
  Json json;
  json["config"] = {{"pattern", R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|)"
                                R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|)"
                                R"(\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)"},
                    {"default_vocab_size", tokens.size() + static_cast<size_t>(n_special)},
                    {"default_num_special_tokens", n_special},
                    {"version", "v3"}};
  Json vocab = Json::array();
  for (const std::string& token : tokens) {
    vocab.push_back({{"rank", vocab.size()}, {"token_bytes", base64(token)}, {"token_str", nullptr}});
  }
  json["vocab"] = std::move(vocab);
  return json;
}

}  // namespace stretto
