// The part of a tokenizer that turns text without special tokens into ids.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace stretto {

class RawEncoder {
 public:
  virtual ~RawEncoder() = default;
  // Appends the ids of `raw`, any bytes. `warnings`, if not null, receives what went wrong without losing input.
  // Thread-safe.
  virtual void encode(std::string_view raw, std::vector<int32_t>& ids, std::vector<std::string>* warnings) const = 0;
};

}  // namespace stretto
