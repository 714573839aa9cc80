// Small dense models with random weights, whose layers clusters can divide (cuda/clusters.h): the reference models are
// too narrow. Their reference is the graph path, which the reference models and the oracle test.
#pragma once

#include <filesystem>
#include <string>

#include "base/dtype.h"

namespace stretto::test {

struct ClusterModel {
  std::string name;
  bool has_norms = true;  // Qwen3, else Llama
  uint32_t n_layers = 3, d = 512, n_heads = 16, n_kv_heads = 8, head_dim = 128, n_ff = 1024, vocab = 512;
};

// As a GGUF file, matrices as `type`: Q8_0, F16 or BF16.
void write_cluster_model(const ClusterModel& model, DType type, const std::filesystem::path& path);

}  // namespace stretto::test
