// The pre-tokenizers of tokenizer.json: how a text is cut into the pieces inside which merges happen.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "text/hf/json_fields.h"
#include "text/hf/pieces.h"

namespace stretto::hf {

class SplitterStep {
 public:
  virtual ~SplitterStep() = default;
  // Replaces every piece by the results of cutting, and possibly rewriting, it. Thread-safe.
  virtual void split(Pieces& pieces, Warnings* warnings) const = 0;
};

class PieceSplitter {
 public:
  PieceSplitter() = default;
  // `json` may be null (no steps). Throws Error: kUnsupported for a type that is not known, kInvalidModel.
  PieceSplitter(const Json& json, std::string_view path, Warnings& warnings);

  void split(Pieces& pieces, Warnings* warnings) const;

 private:
  void add(const Json& json, const std::string& path, int depth, Warnings& warnings);

  std::vector<std::unique_ptr<const SplitterStep>> steps_;
};

}  // namespace stretto::hf
