#include "text/fragment_tokenizer.h"

#include <utility>

#include "base/error.h"
#include "checkpoint/utf8.h"
#include "text/special_tokens.h"

namespace stretto {
namespace {

constexpr size_t kMaxTextBytes = size_t{256} << 20;

class FragmentTokenizer : public Tokenizer {
 public:
  FragmentTokenizer(TokenTable table, const MakeRawEncoder& make_encoder)
      : Tokenizer(std::move(table)), specials_(table_), raw_(make_encoder(table_)) {}

  std::vector<int32_t> encode(std::string_view text, const EncodeOptions& options) const override {
    if (text.size() > kMaxTextBytes) {
      fail(ErrorKind::kBadArgument, "a text of {} bytes cannot be tokenized, at most {} are allowed", text.size(),
           kMaxTextBytes);
    }
    std::vector<int32_t> ids;
    const bool with_bos = options.add_special && adds_bos();
    if (with_bos) ids.push_back(*bos());
    for (const Fragment& fragment : specials_.partition(text, options.parse_special)) {
      if (fragment.id >= 0) {
        ids.push_back(fragment.id);
      } else {
        raw_->encode(text.substr(fragment.begin, fragment.end - fragment.begin), ids, options.warnings);
      }
    }
    if (options.warnings != nullptr && with_bos && ids.size() > 1 && ids[1] == *bos()) {
      options.warnings->push_back(fmt::format(
          "the text begins with '{}' and the tokenizer adds it too: there are two now", printable(this->text(*bos()))));
    }
    if (options.add_special && adds_eos()) ids.push_back(*eos());
    return ids;
  }

 private:
  SpecialTokens specials_;
  std::unique_ptr<const RawEncoder> raw_;
};

}  // namespace

std::unique_ptr<const Tokenizer> make_fragment_tokenizer(TokenTable table, const MakeRawEncoder& make_encoder) {
  return std::make_unique<FragmentTokenizer>(std::move(table), make_encoder);
}

}  // namespace stretto
