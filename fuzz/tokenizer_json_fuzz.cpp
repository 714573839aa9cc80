// Any bytes as tokenizer.json. What is accepted must encode any text to ids of its vocabulary and decode them to UTF-8.
// The input is the file, or the file, a zero byte and a text to encode.
#include <algorithm>
#include <string>
#include <vector>

#include "fuzz/input.h"
#include "text/hf_tokenizer.h"
#include "text/utf8.h"

namespace stretto::fuzz {
namespace {

constexpr std::string_view kText = "Hello  w\xC3\xB6rld's <s>\n\xE4\xB8\xAD 123 \xFF x";

// A file may be broken or use what is not supported; a text may grow too large in the file's normalizer.
template <class Action>
void expect_refusal(Action action) {
  try {
    action();
  } catch (const Error& e) {
    CHECK(e.kind() == ErrorKind::kInvalidModel || e.kind() == ErrorKind::kUnsupported ||
          e.kind() == ErrorKind::kBadArgument);
    CHECK(!std::string_view(e.what()).empty());
  }
}

void check_tokenizer(const Tokenizer& tokenizer, std::string_view text) {
  for (const bool parse_special : {true, false}) {
    std::vector<std::string> warnings;
    const std::vector<int32_t> ids = tokenizer.encode(text, {.parse_special = parse_special, .warnings = &warnings});
    for (const int32_t id : ids) {
      CHECK(id >= 0 && id < tokenizer.size());
      CHECK(tokenizer.piece(id, false).size() <= tokenizer.piece(id, true).size());
    }
    const std::string decoded = tokenizer.decode(ids, parse_special);
    std::string storage;
    CHECK(sanitise_utf8(decoded, storage) == decoded);
  }
}

}  // namespace
}  // namespace stretto::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace stretto;
  const std::string_view input = fuzz::as_text(data, size);
  const size_t zero = std::min(input.find('\0'), input.size());
  HfTokenizerFiles files;
  files.tokenizer_json = std::string(input.substr(0, zero));
  const std::string_view text = zero == input.size() ? fuzz::kText : input.substr(zero + 1);
  fuzz::expect_refusal([&] { fuzz::check_tokenizer(*make_hf_tokenizer(files), text); });
  return 0;
}
