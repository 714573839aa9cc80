// Writes a swap-FFN model as a GGUF file (keys and tensors: docs/swap-ffn.md).
#pragma once

#include <filesystem>
#include <optional>

#include "checkpoint/checkpoint.h"

namespace stretto {

struct GgufSummary {
  uint64_t n_tensors = 0;
  uint64_t n_bytes = 0;  // of the file
};

struct GgufOptions {
  std::optional<DType> type = {};        // of the matrices that do not decide; not given: as they come
  const Metadata* vocabulary = nullptr;  // of a GGUF file whose tokenizer is taken along
};

// `from` is a checkpoint with the names of the training code: a folder, or a .pt file. Matrices keep their encoding
// unless the options name another; norms, biases and everything that decides become F32; q, k and v become three
// tensors. The model is checked whole before anything is written. Throws Error: kUnsupported (another architecture, a
// GGUF file), kInvalidModel, kBadArgument (the place cannot be written; the vocabulary has another size than the model;
// rows of a matrix are not whole blocks of the encoding).
GgufSummary write_swap_ffn_gguf(const Checkpoint& from, const std::filesystem::path& path,
                                const GgufOptions& options = {});

}  // namespace stretto
