#include "model_flags.h"

#include "base/error.h"

namespace stretto::app {

std::optional<DType> ModelFlags::kv_cache_type() const {
  if (kv_type == "auto") return std::nullopt;
  if (kv_type == "f32") return DType::kF32;
  if (kv_type == "f16") return DType::kF16;
  if (kv_type == "bf16") return DType::kBF16;
  fail(ErrorKind::kBadArgument, "--cache-type {}: known types are auto, f32, f16 and bf16", kv_type);
}

void add_model_flags(CLI::App& command, ModelFlags& o) {
  command
      .add_option("model,-m,--model", o.model,
                  "a GGUF file, a Hugging Face directory, or org/name[@rev][:FILE-or-QUANT] in the local hub cache")
      ->required();
  command.add_flag("--lenient", o.lenient, "unknown metadata and unused tensors are warnings, not errors");
  command.add_flag("-q,--quiet", o.quiet, "no remarks on stderr (errors still appear)");
}

void add_tokenizer_flags(CLI::App& command, ModelFlags& o) {
  command.add_option("--pre", o.tokenizer.force_pre, "GGUF: force a pre-tokenizer by name");
  command
      .add_option_function<std::string>(
          "--add-bos",
          [&o](const std::string& value) {
            if (value != "file") o.tokenizer.add_bos = value == "on";
          },
          "tokenizer.json: bos before a text: on, off, or file (as the file says)")
      ->check(CLI::IsMember({"on", "off", "file"}));
  command.add_flag("--fix-mistral-regex", o.tokenizer.fix_mistral_regex,
                   "tokenizer.json: the right expression for Mistral files that carry a wrong one");
}

void add_device_flags(CLI::App& command, ModelFlags& o) {
  command.add_option("--device", o.device.device, "cpu, cuda[:N] or oracle (default: cuda if usable, else cpu)")
      ->envname("STRETTO_DEVICE");
  command.add_option("-t,--threads", o.device.n_threads, "CPU threads (default: one per core)")
      ->envname("STRETTO_THREADS");
  command.add_option("--cpu-isa", o.device.cpu_isa, "force a CPU instruction set, for comparison")
      ->envname("STRETTO_CPU_ISA");
  command.add_flag("--no-graph", o.device.no_graph, "CUDA: launch a step's kernels one by one, for comparison")
      ->envname("STRETTO_NO_GRAPH");
  command.add_flag("--no-pdl", o.device.no_pdl, "CUDA: no programmatic dependent launch, for comparison")
      ->envname("STRETTO_NO_PDL");
  command.add_flag("--no-weight-copies", o.device.no_weight_copies, "CUDA: no decoded copies of weights for prefill")
      ->envname("STRETTO_NO_WEIGHT_COPIES");
  command
      .add_option("--decode", o.device.decode,
                  "CUDA: graph (default), stream (one persistent kernel) or auto (the faster one, measured at load)")
      ->check(CLI::IsMember({"graph", "stream", "auto"}))
      ->envname("STRETTO_DECODE");
  command.add_option("-c,--ctx-size", o.n_ctx, "positions of context (default: the model's, or what fits)")
      ->envname("STRETTO_CTX_SIZE");
  command.add_option("-b,--batch-size", o.chunk, "tokens per prefill step (default: 512, 2048 on a GPU)")
      ->check(CLI::Range(1, 1 << 20));
  command.add_option("--cache-type", o.kv_type,
                     "encoding of the KV cache: f16, bf16, f32; auto = f32 while it is small, else f16");
}

}  // namespace stretto::app
