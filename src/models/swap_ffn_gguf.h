// Writes a swap-FFN model as a GGUF file (keys and tensors: docs/swap-ffn.md).
#pragma once

#include <filesystem>

#include "checkpoint/checkpoint.h"

namespace stretto {

struct GgufSummary {
  uint64_t n_tensors = 0;
  uint64_t n_bytes = 0;  // of the file
};

// `from` is a checkpoint with the names of the training code: a folder, or a .pt file. Matrices keep their encoding;
// norms, biases and everything that decides become F32; q, k and v become three tensors. The model is checked whole
// before anything is written. Throws Error: kUnsupported (another architecture, a GGUF file), kInvalidModel,
// kBadArgument (the place cannot be written).
GgufSummary write_swap_ffn_gguf(const Checkpoint& from, const std::filesystem::path& path);

}  // namespace stretto
