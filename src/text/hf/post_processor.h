// The post-processors of tokenizer.json: the special tokens around an encoded text.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "text/hf/json_fields.h"

namespace stretto::hf {

struct PostProcessor {
  std::vector<int32_t> prefix;
  std::vector<int32_t> suffix;
};

// `json` may be null (nothing around). Every id must satisfy `is_token(id)`.
// Throws Error: kUnsupported for a type that is not known, kInvalidModel.
PostProcessor read_post_processor(const Json& json, std::string_view path, const std::vector<bool>& is_token,
                                  Warnings& warnings);

}  // namespace stretto::hf
