// Tokenizers: text <-> token ids.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/metadata.h"
#include "text/token_table.h"

namespace stretto {

struct EncodeOptions {
  bool add_special = true;    // bos and eos as the model wants them
  bool parse_special = true;  // control tokens written out in the text become those tokens
  // Receives what is odd about this text (two bos tokens, a regular expression that gave up), if not null.
  std::vector<std::string>* warnings = nullptr;
};

// Immutable and thread-safe. Ids are 0 .. size() - 1; texts are byte strings.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;
  Tokenizer(const Tokenizer&) = delete;
  Tokenizer& operator=(const Tokenizer&) = delete;

  // Any bytes. Throws Error(kBadArgument) for more than 256 MiB of text.
  virtual std::vector<int32_t> encode(std::string_view text, const EncodeOptions& options = {}) const = 0;

  // The bytes one id stands for, as a continuation of other text; possibly part of a UTF-8 sequence. Control and
  // unknown tokens are empty unless `show_special`. `id` must be below size().
  const std::string& piece(int32_t id, bool show_special) const;

  // A text from its beginning: the pieces one after the other, less the space that encode() put in front.
  // Throws Error(kBadArgument) for an id outside the vocabulary.
  virtual std::string decode(std::span<const int32_t> ids, bool show_special) const;

  int32_t size() const { return table_.vocabulary.size(); }
  std::string_view text(int32_t id) const;  // as stored; `id` must be below size()
  std::optional<int32_t> find(std::string_view text) const;
  TokenType type(int32_t id) const;  // after the adjustments by well-known texts

  bool is_eog(int32_t id) const;  // ends generation
  bool is_control(int32_t id) const { return table_.vocabulary.contains(id) && type(id) == TokenType::kControl; }
  const std::vector<int32_t>& eog_ids() const { return table_.eog_ids; }        // ascending
  const std::vector<int32_t>& suppressed() const { return table_.suppressed; }  // must never be sampled

  const SpecialIds& special() const { return table_.special; }
  std::optional<int32_t> bos() const { return table_.special.bos; }
  std::optional<int32_t> eos() const { return table_.special.eos; }
  std::optional<int32_t> eot() const { return table_.special.eot; }
  bool adds_bos() const { return table_.add_bos && table_.special.bos.has_value(); }
  bool adds_eos() const { return table_.add_eos && table_.special.eos.has_value(); }

  std::string_view pre() const { return table_.pre; }  // pre-tokenizer name, empty if the algorithm has none
  // `with_tools`: the template for requests that offer tools, where the model has one of its own.
  const std::optional<std::string>& chat_template(bool with_tools = false) const {
    return with_tools && table_.tool_template ? table_.tool_template : table_.chat_template;
  }
  const std::vector<std::string>& warnings() const { return table_.warnings; }  // of loading, one line each

 protected:
  explicit Tokenizer(TokenTable table) : table_(std::move(table)) {}

  const TokenTable table_;
};

// The tokenizer of a GGUF file. `force_pre` replaces tokenizer.ggml.pre.
// Throws Error: kUnsupported for a model without tokenizer, an algorithm or a pre-tokenizer name that is not known;
// kBadArgument for an unknown `force_pre`; kInvalidModel for contradictory data.
std::unique_ptr<const Tokenizer> make_tokenizer(const Metadata& gguf, std::string_view force_pre = {});

}  // namespace stretto
