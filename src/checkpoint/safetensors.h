// Safetensors files: a JSON header and raw tensor bytes. (Low-bit checkpoint specification, section 5.)
#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "checkpoint/mapped_file.h"

namespace stretto {

struct SafetensorsContent {
  std::vector<std::pair<std::string, std::string>> metadata;  // __metadata__: untrusted text
  std::vector<StoredTensor> tensors;                          // by data offset; views into `file`, any alignment
};

// Parses the one file `file`, called `label` in messages. A tensor of more than four dimensions (vision towers have
// them) has its leading dimensions multiplied into one. Throws Error(kInvalidModel).
SafetensorsContent parse_safetensors(std::span<const std::byte> file, std::string_view label);

// A safetensors file that stays mapped.
class SafetensorsFile {
 public:
  explicit SafetensorsFile(const std::filesystem::path& path);  // Throws Error: kNotFound, kInvalidModel.

  const std::vector<std::pair<std::string, std::string>>& metadata() const { return content_.metadata; }
  const std::vector<StoredTensor>& tensors() const { return content_.tensors; }
  const StoredTensor* find(std::string_view name) const;  // nullptr when absent; linear in the number of tensors

 private:
  MappedFile file_;
  SafetensorsContent content_;
};

SafetensorsFile open_safetensors(const std::filesystem::path& path);

// One tensor to write. `bytes` holds row_bytes(type, cols) * rows.
struct SafetensorsEntry {
  std::string name;
  DType type;
  Shape shape;
  std::span<const std::byte> bytes;
};

// Writes the tensors in the given order; 8 + header length is a multiple of 8. `path` is replaced only once everything
// has been written. Throws Error(kBadArgument) when the disk is full or the place not writable.
void write_safetensors(const std::filesystem::path& path, const std::vector<SafetensorsEntry>& entries,
                       const std::vector<std::pair<std::string, std::string>>& metadata = {});

}  // namespace stretto
