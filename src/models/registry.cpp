#include "models/registry.h"

#include <algorithm>

#include "base/error.h"
#include "models/architectures.h"
#include "models/blocks/decoder.h"

namespace stretto {
namespace {

const std::vector<Architecture>& table() {
  static const std::vector<Architecture> kTable = {
      {"llama", {"llama"}, {}, read_llama},
      {"mistral3", {"mistral", "ministral3", "mistral3"}, {}, read_mistral},
      {"qwen3", {"qwen3"}, {}, read_qwen3},
      {"qwen3moe", {"qwen3_moe"}, {}, read_qwen3_moe},
      {"swapffn", {"swap_ffn"}, swap_ffn_names(), read_swap_ffn},
  };
  return kTable;
}

std::string known_names(bool gguf) {
  std::string names;
  for (const Architecture& a : table()) {
    if (gguf && !a.name.empty()) names.append(" ").append(a.name);
    if (!gguf)
      for (const std::string_view type : a.hf_model_types) names.append(" ").append(type);
  }
  return names;
}

const Architecture& find_architecture(const Checkpoint& checkpoint) {
  const bool gguf = checkpoint.container() == Container::kGguf;
  const std::string_view key = gguf ? "general.architecture" : "model_type";
  const Metadata& m = checkpoint.metadata();
  // In multimodal checkpoints the text model says what it is itself.
  std::optional<std::string> name = gguf ? std::nullopt : m.get_string("text_config.model_type");
  if (!name) name = m.get_string(key);
  if (!name) fail(ErrorKind::kInvalidModel, "{}: {} is missing", checkpoint.path().string(), key);
  for (const Architecture& a : table()) {
    const bool hit = gguf
                         ? a.name == *name
                         : std::find(a.hf_model_types.begin(), a.hf_model_types.end(), *name) != a.hf_model_types.end();
    if (hit) return a;
  }
  fail(ErrorKind::kUnsupported, "{}: architecture \"{}\" is not supported; known:{}", checkpoint.path().string(), *name,
       known_names(gguf));
}

}  // namespace

std::span<const Architecture> architectures() { return table(); }

Model load_model(const Checkpoint& checkpoint, const ModelOptions& options) {
  const Architecture& architecture = find_architecture(checkpoint);
  ModelReader reader(checkpoint, std::string(architecture.name), architecture.deviations);
  Model model;
  model.spec = architecture.read_spec(reader);
  model.program = build_decoder(reader, model.spec, options.kv_type, options.swap);
  model.warnings = reader.finish(options.strictness);
  return model;
}

}  // namespace stretto
