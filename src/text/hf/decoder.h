// The decoders of tokenizer.json: token texts back to text.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "text/hf/json_fields.h"

namespace stretto::hf {

class DecoderStep {
 public:
  virtual ~DecoderStep() = default;
  // What the step makes of a whole list of tokens. Thread-safe.
  virtual void decode(std::vector<std::string>& tokens) const = 0;
  // What it makes of one token inside a text, as bytes; false: the steps behind it have nothing more to do.
  virtual bool decode_one(std::string& token) const = 0;
};

class Decoder {
 public:
  Decoder() = default;
  // `json` may be null: tokens are joined with a blank.
  // Throws Error: kUnsupported for a type that is not known, kInvalidModel.
  Decoder(const Json& json, std::string_view path, Warnings& warnings);

  // The text of a list of tokens from its beginning: valid UTF-8, bytes that are none are U+FFFD.
  std::string decode(std::vector<std::string> tokens) const;
  // The bytes of one token as a continuation of other text, possibly part of a UTF-8 sequence.
  std::string piece(std::string_view token) const;

 private:
  void add(const Json& json, const std::string& path, int depth, Warnings& warnings);

  bool joins_with_blank_ = true;
  std::vector<std::unique_ptr<const DecoderStep>> steps_;
};

}  // namespace stretto::hf
