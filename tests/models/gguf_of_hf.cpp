#include "models/gguf_of_hf.h"

#include <cmath>
#include <map>

#include "formats/formats.h"
#include "models/tensor_names.h"

namespace stretto::test {
namespace {

struct OutTensor {
  std::string name;
  DType type;
  Shape shape;
  std::vector<std::byte> bytes;
};

class Converter {
 public:
  Converter(const Checkpoint& hf, std::string architecture) : hf_(hf), architecture_(std::move(architecture)) {}

  Metadata metadata() const {
    Metadata m;
    const auto put = [&](const char* key, const char* from) {
      if (const auto v = hf_.metadata().get_uint(from))
        m.add(architecture_ + "." + key, MetaValue::u32(static_cast<uint32_t>(*v)));
    };
    const auto put_float = [&](const char* key, const char* from) {
      m.add(architecture_ + "." + key, MetaValue::f32(static_cast<float>(hf_.metadata().get_float(from).value())));
    };
    m.add("general.architecture", MetaValue::string(architecture_));
    put("block_count", "num_hidden_layers");
    put("embedding_length", "hidden_size");
    put("context_length", "max_position_embeddings");
    put("feed_forward_length", "intermediate_size");
    put("attention.head_count", "num_attention_heads");
    put("attention.head_count_kv", "num_key_value_heads");
    put("attention.key_length", "head_dim");
    put("attention.value_length", "head_dim");
    put("rope.dimension_count", "head_dim");
    put("vocab_size", "vocab_size");
    put("expert_count", "num_local_experts");
    put("expert_used_count", "num_experts_per_tok");
    put("expert_feed_forward_length", "moe_intermediate_size");
    put_float("attention.layer_norm_rms_epsilon", "rms_norm_eps");
    put_float("rope.freq_base", "rope_parameters.rope_theta");
    m.add("tokenizer.ggml.model", MetaValue::string("no_vocab"));
    return m;
  }

  std::vector<OutTensor> tensors() {
    std::vector<OutTensor> out;
    const uint64_t layers = uint("num_hidden_layers"),
                   experts = hf_.metadata().get_uint("num_local_experts").value_or(0);
    for (const TensorName& n : standard_tensor_names()) {
      if (n.hf.empty() || n.gguf.empty()) continue;
      const bool per_layer = n.gguf.find("{l}") != n.gguf.npos;
      for (uint64_t l = 0; l < (per_layer ? layers : 1); ++l) add(out, n, static_cast<int>(l), experts);
    }
    if (hf_.metadata().get_string("rope_parameters.rope_type").value_or("default") == "llama3")
      out.push_back(rope_freqs());
    return out;
  }

 private:
  uint64_t uint(const char* key) const { return hf_.metadata().get_uint(key).value(); }

  void add(std::vector<OutTensor>& out, const TensorName& n, int layer, uint64_t experts) const {
    const bool stacked = n.hf.find("{e}") != n.hf.npos;
    const StoredTensor* t = hf_.find(expand_tensor_name(n.hf, layer, 0));
    if (t == nullptr) return;
    OutTensor o{expand_tensor_name(n.gguf, layer), t->view.type, t->view.shape, {}};
    if (stacked) o.shape = Shape{experts, t->view.shape[0], t->view.shape[1]};
    for (uint64_t e = 0; e < (stacked ? experts : 1); ++e) {
      const StoredTensor* part = hf_.find(expand_tensor_name(n.hf, layer, static_cast<int>(e)));
      o.bytes.insert(o.bytes.end(), part->view.bytes.begin(), part->view.bytes.end());
    }
    if (o.shape.rank() == 1 || n.role == "ffn_router") widen(o);
    const bool interleaved = architecture_ == "llama" || architecture_ == "mistral3";
    if (interleaved && (n.role == "attn_q" || n.role == "attn_k")) interleave(o);
    out.push_back(std::move(o));
  }

  static void widen(OutTensor& o) {
    std::vector<float> values(o.shape.elements());
    decode_row(o.type, o.bytes.data(), values.size(), values.data());
    o.type = DType::kF32;
    const auto bytes = std::as_bytes(std::span(values));
    o.bytes.assign(bytes.begin(), bytes.end());
  }

  // Row s * D/2 + i of a head goes to row 2i + s.
  void interleave(OutTensor& o) const {
    const uint64_t head = uint("head_dim"), bytes = row_bytes(o.type, o.shape.cols());
    const std::vector<std::byte> from = o.bytes;
    for (uint64_t r = 0; r < o.shape.rows(); ++r) {
      const uint64_t s = r % head / (head / 2), i = r % (head / 2), to = r / head * head + 2 * i + s;
      std::copy_n(from.begin() + static_cast<int64_t>(r * bytes), bytes,
                  o.bytes.begin() + static_cast<int64_t>(to * bytes));
    }
  }

  OutTensor rope_freqs() const {
    const auto number = [&](const char* key) {
      return hf_.metadata().get_float(std::string("rope_parameters.") + key).value();
    };
    const uint64_t head = uint("head_dim");
    std::vector<float> f;
    for (uint64_t i = 0; i < head / 2; ++i) {
      const double wavelength =
          2 * M_PI * std::pow(number("rope_theta"), 2.0 * static_cast<double>(i) / static_cast<double>(head));
      const double o = number("original_max_position_embeddings"), lo = number("low_freq_factor"),
                   hi = number("high_freq_factor");
      const double s = number("factor"), t = (o / wavelength - lo) / (hi - lo);
      f.push_back(static_cast<float>(wavelength < o / hi ? 1 : wavelength > o / lo ? s : 1 / ((1 - t) / s + t)));
    }
    const auto bytes = std::as_bytes(std::span(f));
    return {"rope_freqs.weight", DType::kF32, Shape{head / 2}, {bytes.begin(), bytes.end()}};
  }

  const Checkpoint& hf_;
  std::string architecture_;
};

}  // namespace

void write_gguf_of_hf(const Checkpoint& hf, const std::string& architecture, const std::filesystem::path& path,
                      const GgufEdit& edit) {
  Converter converter(hf, architecture);
  Metadata metadata = converter.metadata();
  edit.metadata(metadata);
  std::vector<OutTensor> tensors = converter.tensors();
  std::vector<GgufTensorPlan> plan;
  std::erase_if(tensors, [&](OutTensor& t) { return (t.name = edit.rename(t.name)).empty(); });
  for (const OutTensor& t : tensors) plan.push_back({t.name, t.type, t.shape});
  GgufWriter writer(path, metadata, plan);
  for (const OutTensor& t : tensors) writer.append(t.bytes);
  writer.finish();
}

}  // namespace stretto::test
