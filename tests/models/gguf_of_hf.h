// Rewrites a tiny Hugging Face reference model as a GGUF file, as converters do, so that both loaders can be compared.
#pragma once

#include <filesystem>
#include <functional>

#include "checkpoint/checkpoint.h"
#include "checkpoint/gguf_writer.h"

namespace stretto::test {

struct GgufEdit {
  std::function<void(Metadata&)> metadata = [](Metadata&) {};
  // Called for every tensor name; an empty result leaves the tensor out.
  std::function<std::string(const std::string&)> rename = [](const std::string& n) { return n; };
};

// `architecture` is one of llama, mistral3, qwen3, qwen3moe. Linear weights stay BF16, vectors and routers become F32,
// experts are stacked, q and k rows of llama and mistral3 are put into interleaved order, llama3 scaling becomes
// rope_freqs.
void write_gguf_of_hf(const Checkpoint& hf, const std::string& architecture, const std::filesystem::path& path,
                      const GgufEdit& edit = {});

}  // namespace stretto::test
