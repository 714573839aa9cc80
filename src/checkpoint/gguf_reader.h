// GGUF container, versions 2 and 3: header, metadata, tensor table. (GGUF specification, sections 1 and 3.)
// The bytes are taken as hostile: every size is checked before it is used, and a violation is an Error that names the
// rule, the byte offset and the key or tensor.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "checkpoint/checkpoint.h"

namespace stretto {

inline constexpr uint32_t kGgufDefaultAlignment = 32;
inline constexpr size_t kGgufMaxNameBytes = 63;
inline constexpr size_t kGgufMaxKeyBytes = 65535;

struct GgufContent {
  uint32_t version = 0;
  uint64_t alignment = kGgufDefaultAlignment;
  uint64_t data_start = 0;  // byte offset of the data section; the end of the metadata when there are no tensors
  Metadata metadata;
  std::vector<StoredTensor> tensors;  // views into `file`
};

// Parses the one file `file`, called `label` in messages. Shapes come out outermost first (the file lists them
// innermost first), with as many dimensions as the file states. Types that Stretto only knows by size are accepted.
// Throws Error(kInvalidModel).
GgufContent parse_gguf(std::span<const std::byte> file, std::string_view label);

}  // namespace stretto
