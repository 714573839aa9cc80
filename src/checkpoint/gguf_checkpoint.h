// A GGUF file, or all parts of a split one, as a Checkpoint. (GGUF specification, section 2.)
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "checkpoint/checkpoint.h"

namespace stretto {

// "<prefix>-00002-of-00005.gguf"; numbers have five digits, more only where the number needs them.
struct SplitName {
  std::string prefix;   // of the file name, without directory
  uint64_t number = 0;  // 1..count
  uint64_t count = 0;
};
std::optional<SplitName> parse_split_name(const std::string& file_name);
std::string split_file_name(const std::string& prefix, uint64_t number, uint64_t count);

// Any part of a split file opens the whole, from part 1. Throws Error: kNotFound, kInvalidModel.
std::unique_ptr<Checkpoint> open_gguf(const std::filesystem::path& path, const OpenOptions& options);

}  // namespace stretto
