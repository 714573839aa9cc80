#include "models/swap_ffn_gguf.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "checkpoint/gguf_writer.h"
#include "formats/formats.h"
#include "models/architectures.h"
#include "models/registry.h"

namespace stretto {
namespace {

constexpr std::string_view kArchitecture = "swapffn";

struct OutTensor {
  GgufTensorPlan plan;
  TensorView source;  // of the same shape
};

// Whether a role is stored as F32 whatever it comes as.
bool is_widened(std::string_view role, const Shape& shape) {
  constexpr std::string_view kBanks[] = {"swap_w1", "swap_w2", "swap_w3"};
  return shape.rank() == 1 || (role.starts_with("swap_") && std::ranges::find(kBanks, role) == std::end(kBanks));
}

class Conversion {
 public:
  Conversion(const Checkpoint& from, const Model& model, const GgufOptions& options)
      : from_(from), spec_(model.spec), options_(options) {}

  Metadata metadata() const {
    Metadata m;
    m.add("general.architecture", MetaValue::string(std::string(kArchitecture)));
    const auto put = [&](std::string_view key, uint64_t v) { add(m, key, MetaValue::u32(static_cast<uint32_t>(v))); };
    put("block_count", spec_.n_layers);
    put("context_length", spec_.context_length);
    put("embedding_length", spec_.d_model);
    put("feed_forward_length", spec_.d_ff);
    put("attention.head_count", spec_.n_heads);
    put("attention.head_count_kv", spec_.n_kv_heads);
    put("vocab_size", spec_.vocab_size);
    add(m, "attention.layer_norm_rms_epsilon", MetaValue::f32(spec_.rms_eps));
    add(m, "rope.freq_base",
        MetaValue::f32(static_cast<float>(from_.metadata().get_float("rope_theta").value_or(10000))));
    add(m, "swap.layers", {MetaType::kArray, MetaType::kU32, spec_.swap.layers});
    if (!spec_.swap.layers.empty()) {
      put("swap.n_banks", spec_.swap.n_banks);
      put("swap.n_events", spec_.swap.n_events);
      put("swap.k_ffn", spec_.swap.k_ffn);
    }
    if (const auto tau = from_.metadata().get_float("tau"))
      add(m, "swap.tau", MetaValue::f32(static_cast<float>(*tau)));
    for (const char* key : {"use_hard", "use_ste"})
      if (const auto v = from_.metadata().get_bool(key)) add(m, std::string("swap.") + key, MetaValue::boolean(*v));
    add(m, "swap.token_local", MetaValue::boolean(spec_.swap.token_local));
    add_vocabulary(m);
    return m;
  }

  std::vector<OutTensor> tensors() const {
    std::vector<OutTensor> out;
    for (const TensorName& n : swap_ffn_names())
      if (n.hf.find("{l}") == std::string_view::npos) add_tensor(out, n, -1);
    for (uint64_t l = 0; l < spec_.n_layers; ++l)
      for (const TensorName& n : swap_ffn_names())
        if (n.hf.find("{l}") != std::string_view::npos) add_tensor(out, n, static_cast<int>(l));
    return out;
  }

 private:
  static void add(Metadata& m, std::string_view key, MetaValue value) {
    CHECK(m.add(std::string(kArchitecture) + "." + std::string(key), std::move(value)));
  }

  // Not the chat template: these models continue text.
  void add_vocabulary(Metadata& m) const {
    if (options_.vocabulary == nullptr) {
      m.add("tokenizer.ggml.model", MetaValue::string("no_vocab"));
      return;
    }
    const auto* const tokens = options_.vocabulary->get_strings("tokenizer.ggml.tokens");
    if (tokens == nullptr || tokens->size() != spec_.vocab_size)
      fail(ErrorKind::kBadArgument, "the vocabulary has {} tokens, the model {}",
           tokens == nullptr ? 0 : tokens->size(), spec_.vocab_size);
    for (const Metadata::Entry& e : options_.vocabulary->entries())
      if (e.key.starts_with("tokenizer.ggml.")) m.add(e.key, e.value);
  }

  OutTensor out_tensor(std::string name, std::string_view role, const TensorView& source) const {
    DType type = options_.type.value_or(source.type);
    if (is_widened(role, source.shape)) type = DType::kF32;
    if (source.shape.cols() % info(type).block_elements != 0)
      fail(ErrorKind::kBadArgument, "{}: its rows of {} elements are not whole blocks of {}", name, source.shape.cols(),
           stretto::name(type));
    return {{std::move(name), type, source.shape}, source};
  }

  void add_tensor(std::vector<OutTensor>& out, const TensorName& n, int layer) const {
    const StoredTensor* const t = from_.find(expand_tensor_name(n.hf, layer));
    if (t == nullptr) return;  // of the other kind of layer
    if (n.role != "attn_qkv") {
      out.push_back(out_tensor(expand_tensor_name(n.gguf, layer), n.role, t->view));
      return;
    }
    const uint64_t q_rows = spec_.n_heads * spec_.head_dim, kv_rows = spec_.n_kv_heads * spec_.head_dim;
    uint64_t first = 0;
    for (const auto& [which, rows] : {std::pair{'q', q_rows}, std::pair{'k', kv_rows}, std::pair{'v', kv_rows}}) {
      const uint64_t bytes = row_bytes(t->view.type, spec_.d_model);
      const TensorView part{t->view.type, Shape{rows, spec_.d_model},
                            t->view.bytes.subspan(first * bytes, rows * bytes)};
      out.push_back(out_tensor(fmt::format("blk.{}.attn_{}.weight", layer, which), n.role, part));
      first += rows;
    }
  }

  const Checkpoint& from_;
  const DecoderSpec& spec_;
  const GgufOptions& options_;
};

void append(GgufWriter& writer, const OutTensor& t) {
  if (t.plan.type == t.source.type) return writer.append(t.source.bytes);
  const uint64_t cols = t.source.shape.cols(), bytes = row_bytes(t.source.type, cols);
  std::vector<float> values(cols);
  std::vector<std::byte> row(row_bytes(t.plan.type, cols));
  for (uint64_t r = 0; r < t.source.shape.rows(); ++r) {
    decode_row(t.source.type, t.source.bytes.data() + r * bytes, cols, values.data());
    encode_row(t.plan.type, values.data(), cols, row.data());
    writer.append(row);
  }
}

}  // namespace

GgufSummary write_swap_ffn_gguf(const Checkpoint& from, const std::filesystem::path& path, const GgufOptions& options) {
  if (from.container() == Container::kGguf)
    fail(ErrorKind::kUnsupported, "{}: it is a GGUF file already", from.path().string());
  const Model model = load_model(from);
  if (model.program.architecture != kArchitecture)
    fail(ErrorKind::kUnsupported, "{}: architecture {} is not converted; swap-FFN models are", from.path().string(),
         model.program.architecture);
  const Conversion conversion(from, model, options);
  const std::vector<OutTensor> tensors = conversion.tensors();
  std::vector<GgufTensorPlan> plan;
  plan.reserve(tensors.size());
  for (const OutTensor& t : tensors) plan.push_back(t.plan);
  GgufWriter writer(path, conversion.metadata(), plan);
  for (const OutTensor& t : tensors) append(writer, t);
  writer.finish();
  return {.n_tensors = tensors.size(), .n_bytes = writer.total_bytes()};
}

}  // namespace stretto
