#include "model_flags.h"

#include <algorithm>

#include "base/error.h"

namespace stretto::app {

namespace {

struct CacheTypeName {
  std::string_view name;
  std::optional<DType> type;
};
constexpr CacheTypeName kCacheTypes[] = {{"auto", std::nullopt},  {"f32", DType::kF32},   {"f16", DType::kF16},
                                         {"bf16", DType::kBF16},  {"q8_0", DType::kQ8_0}, {"f8_e4m3", DType::kF8_E4M3},
                                         {"fp8", DType::kF8_E4M3}};

std::optional<DType> cache_type_of(std::string_view flag, const std::string& name) {
  const auto* found = std::find_if(std::begin(kCacheTypes), std::end(kCacheTypes),
                                   [&](const CacheTypeName& c) { return c.name == name; });
  if (found == std::end(kCacheTypes))
    fail(ErrorKind::kBadArgument, "{} {}: known types are auto, f32, f16, bf16, q8_0 and f8_e4m3 (fp8)", flag, name);
  return found->type;
}

}  // namespace

std::optional<DType> ModelFlags::kv_cache_type() const {
  const std::optional<DType> type = cache_type_of("--cache-type", kv_type);
  if (!v_type.empty() && cache_type_of("--cache-type-v", v_type) != type)
    fail(ErrorKind::kBadArgument,
         "--cache-type-v {} beside --cache-type {}: keys and values have one encoding; give --cache-type {} alone for "
         "both",
         v_type, kv_type, v_type);
  return type;
}

void add_model_flags(const Flags& command, ModelFlags& o) {
  command
      .add("model,-m,--model", o.model,
           "a GGUF file, a Hugging Face directory, or org/name[@rev][:FILE-or-QUANT] in the local hub cache")
      .required();
  command.add("--lenient", o.lenient, "unknown metadata and unused tensors are warnings, not errors");
  command.add("-q,--quiet", o.quiet, "no remarks on stderr (errors still appear)");
}

void add_tokenizer_flags(const Flags& command, ModelFlags& o) {
  command.add("--pre", o.tokenizer.force_pre, "GGUF: force a pre-tokenizer by name");
  command
      .add(
          "--add-bos",
          [&o](const std::string& value) {
            if (value != "file") o.tokenizer.add_bos = value == "on";
          },
          "tokenizer.json: bos before a text: on, off, or file (as the file says)")
      .one_of({"on", "off", "file"});
  command.add("--fix-mistral-regex", o.tokenizer.fix_mistral_regex,
              "tokenizer.json: the right expression for Mistral files that carry a wrong one");
}

void add_device_flags(const Flags& command, ModelFlags& o) {
  command.add("--device", o.device.device, "cpu, cuda[:N] or oracle (default: cuda if usable, else cpu)")
      .or_environment("STRETTO_DEVICE");
  command.add("-t,--threads", o.device.n_threads, "CPU threads (default: one per core)")
      .or_environment("STRETTO_THREADS");
  command.add("--cpu-isa", o.device.cpu_isa, "force a CPU instruction set, for comparison")
      .or_environment("STRETTO_CPU_ISA");
  command.add("--no-graph", o.device.no_graph, "CUDA: launch a step's kernels one by one, for comparison")
      .or_environment("STRETTO_NO_GRAPH");
  command.add("--no-pdl", o.device.no_pdl, "CUDA: no programmatic dependent launch, for comparison")
      .or_environment("STRETTO_NO_PDL");
  command.add("--no-weight-copies", o.device.no_weight_copies, "CUDA: no decoded copies of weights for prefill")
      .or_environment("STRETTO_NO_WEIGHT_COPIES");
  command
      .add(
          "--decode", o.device.decode,
          "CUDA: graph, stream (one persistent kernel) or auto (the faster one, measured when tokens are first chosen)")
      .one_of({"graph", "stream", "auto"})
      .shows_default()
      .or_environment("STRETTO_DECODE");
  command.add("-c,--ctx-size", o.n_ctx, "positions of context (default: the model's, or what fits)")
      .or_environment("STRETTO_CTX_SIZE");
  command.add("-b,--batch-size", o.chunk, "tokens per prefill step (default: 512, 2048 on a GPU)").between(1, 1 << 20);
  command.add("--cache-type", o.kv_type,
              "encoding of the KV cache: f16, bf16, f32, q8_0, f8_e4m3 (fp8); auto = f32 while it is small, "
              "else f16");
  command.add("--cache-type-v", o.v_type, "must name the same encoding: keys and values share it");
}

}  // namespace stretto::app
