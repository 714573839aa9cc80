// stretto convert: a swap-FFN checkpoint, as its training wrote it, becomes a GGUF file.

#include <algorithm>
#include <cctype>

#include "base/error.h"
#include "checkpoint/pt_checkpoint.h"
#include "formats/formats.h"
#include "model_flags.h"
#include "models/swap_ffn_gguf.h"
#include "program/print.h"
#include "terminal.h"

namespace stretto::app {
namespace {

struct ConvertOptions {
  std::string from, to, type, vocabulary;
  bool skip_storage_crc = false;
  bool quiet = false;
};

bool is_pickled(const std::filesystem::path& path) {
  const std::string extension = path.extension().string();
  return extension == ".pt" || extension == ".pth" || extension == ".bin";
}

DType matrix_type(std::string text) {
  std::ranges::transform(text, text.begin(), [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  const auto type = dtype_from_name(text);
  if (!type || !has_format(*type) || !visit_format(*type, [](auto f) { return has_encoder<decltype(f)>; }))
    fail(ErrorKind::kBadArgument, "--type {}: f32, f16, bf16, q8_0, q5_0 and q4_0 can be written", text);
  return *type;
}

void run_convert(const ConvertOptions& o) {
  const std::filesystem::path to(o.to);
  if (to.extension() != ".gguf")
    fail(ErrorKind::kBadArgument, "-o {}: the result is a GGUF file; give it the extension .gguf", o.to);
  const auto checkpoint =
      is_pickled(o.from) ? open_pt(o.from, {.verify_storages = !o.skip_storage_crc}) : open_checkpoint(o.from);
  for (const std::string& w : checkpoint->warnings()) remark("warning: " + w);
  GgufOptions options;
  if (!o.type.empty()) options.type = matrix_type(o.type);
  std::unique_ptr<const Checkpoint> vocabulary;
  if (!o.vocabulary.empty()) {
    vocabulary = open_checkpoint(o.vocabulary, {.metadata_only = true});
    options.vocabulary = &vocabulary->metadata();
  }
  const GgufSummary summary = write_swap_ffn_gguf(*checkpoint, to, options);
  if (checkpoint->side_file("tokenizer.json") && o.vocabulary.empty())
    remark("warning: the tokenizer of the folder is not taken along; the file takes token ids");
  remark(fmt::format("wrote {}: {} tensors, {}", o.to, summary.n_tensors, human_bytes(summary.n_bytes)));
}

}  // namespace

void add_convert(const Flags& app, int&) {
  auto o = std::make_shared<ConvertOptions>();
  const Flags c = app.command("convert", "a swap-FFN checkpoint (.pt, or a folder) to a GGUF file");
  c.add("model,-m,--model", o->from, "a .pt file of torch.save, or a folder with config.json").required();
  c.add("-o,--output", o->to, "the GGUF file to write").required();
  c.add("--type", o->type, "encoding of the matrices: f32, f16, bf16, q8_0, q5_0, q4_0 (default: as they are)");
  c.add("--vocabulary", o->vocabulary, "a GGUF file whose tokenizer is taken along");
  c.add("--skip-storage-crc", o->skip_storage_crc, ".pt: for writers that leave the storages' checksums out");
  c.add("-q,--quiet", o->quiet, "no remarks on stderr (errors still appear)");
  c.run([o] {
    set_quiet(o->quiet);
    run_convert(*o);
  });
}

}  // namespace stretto::app
