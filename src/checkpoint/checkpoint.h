// A model on disk, whatever its container: metadata and mapped tensor views.
// GGUF files (split ones too) and Hugging Face directories (config.json + safetensors) open to the same object.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/tensor.h"
#include "checkpoint/metadata.h"

namespace stretto {

enum class Container { kGguf, kHuggingFace };

struct StoredTensor {
  std::string name;  // as stored in the file
  TensorView view;   // into the mapping, valid as long as the Checkpoint
};

class Checkpoint {
 public:
  virtual ~Checkpoint() = default;

  Container container() const { return container_; }
  const std::filesystem::path& path() const { return path_; }  // the file, or the directory
  const Metadata& metadata() const { return metadata_; }
  const std::vector<StoredTensor>& tensors() const { return tensors_; }  // in file order
  const StoredTensor* find(std::string_view name) const;                 // nullptr when absent
  uint64_t tensor_bytes() const;                                         // sum over all tensors
  // Oddities that do not stop loading, one sentence each, for the caller to print.
  const std::vector<std::string>& warnings() const { return warnings_; }

  // The text of a further file of a Hugging Face directory ("generation_config.json", "folder/file"); nullopt when
  // the file is absent or the checkpoint is a GGUF file. Throws Error when it is there but larger than 256 MiB, not
  // readable, or a link out of the model's directory.
  std::optional<std::string> side_file(std::string_view file_name) const;

  // Brings every tensor byte into memory once, in file order, with `threads` readers; `progress(done, total)` is called
  // now and then from the calling thread. Returns the seconds it took.
  double prefault(int threads, const std::function<void(uint64_t, uint64_t)>& progress) const;

 protected:
  Container container_ = Container::kGguf;
  std::filesystem::path path_;
  Metadata metadata_;
  std::vector<StoredTensor> tensors_;
  std::unordered_map<std::string, size_t> tensor_index_;
  std::vector<std::string> warnings_;

  void add_tensor(StoredTensor tensor);  // CHECKs that the name is new
};

struct OpenOptions {
  // For tokenize and template: a HF directory without weights opens, and of a split GGUF only part 1 is opened;
  // tensors() is then empty or incomplete.
  bool metadata_only = false;
};

// MODEL of the command line: a path that exists wins; otherwise `org/name[@rev][:FILE-or-QUANT]` in the local hub
// cache, which is only ever read. Throws Error: kNotFound, kInvalidModel, kUnsupported.
std::unique_ptr<Checkpoint> open_checkpoint(const std::string& model, const OpenOptions& options = {});

}  // namespace stretto
