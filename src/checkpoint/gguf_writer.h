// Writes GGUF version 3. (GGUF specification, section 1.1.)
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "base/tensor.h"
#include "checkpoint/metadata.h"
#include "checkpoint/output_file.h"

namespace stretto {

struct GgufTensorPlan {
  std::string name;  // 1..63 bytes
  DType type;
  Shape shape;  // outermost first; the file lists it innermost first, without leading (outer) ones
};

// The header, the metadata and the tensor table with canonical offsets, padded to the alignment (general.alignment of
// the metadata, else 32). Throws Error(kUnsupported) when a name, type or shape cannot be stored.
std::vector<std::byte> encode_gguf_header(const Metadata& metadata, const std::vector<GgufTensorPlan>& tensors);

// Streams the data of the planned tensors, in the planned order. The target appears complete at finish() or not at all.
//   GgufWriter out(path, metadata, plan);
//   for each tensor, in any number of pieces: out.append(bytes);
//   out.finish();
class GgufWriter {
 public:
  // Writes the header and claims the disk space. Throws Error: kUnsupported, kBadArgument (not writable, disk full).
  GgufWriter(const std::filesystem::path& path, const Metadata& metadata, std::vector<GgufTensorPlan> tensors);

  // The next bytes of the present tensor; must not reach beyond its end. The padding after it is added here.
  void append(std::span<const std::byte> bytes);
  // The tensor that the next append() belongs to; tensors().size() when all are written.
  size_t current() const { return current_; }
  const std::vector<GgufTensorPlan>& tensors() const { return tensors_; }
  uint64_t total_bytes() const { return total_bytes_; }  // of the finished file

  void finish();

 private:
  std::vector<GgufTensorPlan> tensors_;
  uint64_t alignment_;
  uint64_t total_bytes_ = 0;
  size_t current_ = 0;
  uint64_t current_bytes_ = 0;  // of the present tensor, already written
  OutputFile file_;
};

}  // namespace stretto
