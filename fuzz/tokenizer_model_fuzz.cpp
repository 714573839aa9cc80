// Any bytes as tokenizer.model (SentencePiece), or as tekken.json when they begin with '{'. What is accepted must
// encode any text to ids of its vocabulary and decode them.
#include <string>
#include <vector>

#include "fuzz/input.h"
#include "text/hf_tokenizer.h"

namespace stretto::fuzz {
namespace {

constexpr std::string_view kText = "Hello  w\xC3\xB6rld's <s>\n\xE4\xB8\xAD 123 \xFF x\xE2\x96\x81 ";

void check_tokenizer(const Tokenizer& tokenizer) {
  for (const bool parse_special : {true, false}) {
    std::vector<std::string> warnings;
    const std::vector<int32_t> ids = tokenizer.encode(kText, {.parse_special = parse_special, .warnings = &warnings});
    for (const int32_t id : ids) {
      CHECK(id >= 0 && id < tokenizer.size());
      CHECK(tokenizer.piece(id, false).size() <= tokenizer.piece(id, true).size());
    }
    CHECK(tokenizer.decode(ids, false).size() <= tokenizer.decode(ids, true).size());
  }
}

}  // namespace
}  // namespace stretto::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace stretto;
  HfTokenizerFiles files;
  const bool tekken = size > 0 && data[0] == '{';
  (tekken ? files.tekken_json : files.tokenizer_model) = std::string(fuzz::as_text(data, size));
  try {
    fuzz::check_tokenizer(*make_hf_tokenizer(files));
  } catch (const Error& e) {
    CHECK(e.kind() == ErrorKind::kInvalidModel || e.kind() == ErrorKind::kUnsupported);
    CHECK(!std::string_view(e.what()).empty());
  }
  return 0;
}
