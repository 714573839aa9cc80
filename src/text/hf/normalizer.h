// The normalizers of tokenizer.json: what is done to a text before it is cut into pieces.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "text/hf/json_fields.h"

namespace stretto::hf {

inline constexpr int kMaxSteps = 64;   // of one kind of pipeline
inline constexpr int kMaxNesting = 8;  // of Sequences

class NormalizerStep {
 public:
  virtual ~NormalizerStep() = default;
  // Replaces `out` by the normal form of `text`, both valid UTF-8. Thread-safe.
  virtual void apply(std::string_view text, std::string& out, Warnings* warnings) const = 0;
};

class Normalizer {
 public:
  Normalizer() = default;
  // `json` may be null (no steps). Throws Error: kUnsupported for a type that is not known, kInvalidModel.
  Normalizer(const Json& json, std::string_view path, Warnings& warnings);

  bool empty() const { return steps_.empty(); }
  // `text` (valid UTF-8) in normal form. Throws Error(kBadArgument) if it grows above 1 GiB.
  void apply(std::string& text, Warnings* warnings) const;

 private:
  void add(const Json& json, const std::string& path, int depth, Warnings& warnings);

  std::vector<std::unique_ptr<const NormalizerStep>> steps_;
};

}  // namespace stretto::hf
