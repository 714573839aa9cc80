#include "cuda/cluster_models.h"

#include <cmath>
#include <random>
#include <vector>

#include "checkpoint/gguf_writer.h"
#include "formats/formats.h"

namespace stretto::test {
namespace {

class Builder {
 public:
  Builder(const ClusterModel& model, DType type) : m_(model), type_(type) {}

  Metadata metadata() const {
    Metadata out;
    const std::string arch = m_.has_norms ? "qwen3" : "llama", prefix = arch + ".";
    out.add("general.architecture", MetaValue::string(arch));
    for (const auto& [key, value] :
         std::initializer_list<std::pair<const char*, uint32_t>>{{"block_count", m_.n_layers},
                                                                 {"embedding_length", m_.d},
                                                                 {"context_length", 4096},
                                                                 {"feed_forward_length", m_.n_ff},
                                                                 {"attention.head_count", m_.n_heads},
                                                                 {"attention.head_count_kv", m_.n_kv_heads},
                                                                 {"attention.key_length", m_.head_dim},
                                                                 {"attention.value_length", m_.head_dim},
                                                                 {"rope.dimension_count", m_.head_dim},
                                                                 {"vocab_size", m_.vocab}})
      out.add(prefix + key, MetaValue::u32(value));
    out.add(prefix + "attention.layer_norm_rms_epsilon", MetaValue::f32(1e-6F));
    out.add(prefix + "rope.freq_base", MetaValue::f32(1e5F));
    out.add("tokenizer.ggml.model", MetaValue::string("no_vocab"));
    return out;
  }

  std::vector<GgufTensorPlan> plan() const {
    std::vector<GgufTensorPlan> out;
    const auto matrix = [&](const std::string& name, uint32_t rows, uint32_t cols) {
      out.push_back({name, type_, {rows, cols}});
    };
    const auto vector = [&](const std::string& name, uint32_t n) { out.push_back({name, DType::kF32, {n}}); };
    const uint32_t q = m_.n_heads * m_.head_dim, kv = m_.n_kv_heads * m_.head_dim;
    matrix("token_embd.weight", m_.vocab, m_.d);
    for (uint32_t i = 0; i < m_.n_layers; ++i) {
      const std::string p = "blk." + std::to_string(i) + ".";
      vector(p + "attn_norm.weight", m_.d);
      matrix(p + "attn_q.weight", q, m_.d);
      matrix(p + "attn_k.weight", kv, m_.d);
      matrix(p + "attn_v.weight", kv, m_.d);
      matrix(p + "attn_output.weight", m_.d, q);
      if (m_.has_norms) vector(p + "attn_q_norm.weight", m_.head_dim);
      if (m_.has_norms) vector(p + "attn_k_norm.weight", m_.head_dim);
      vector(p + "ffn_norm.weight", m_.d);
      matrix(p + "ffn_gate.weight", m_.n_ff, m_.d);
      matrix(p + "ffn_up.weight", m_.n_ff, m_.d);
      matrix(p + "ffn_down.weight", m_.d, m_.n_ff);
    }
    vector("output_norm.weight", m_.d);
    matrix("output.weight", m_.vocab, m_.d);
    return out;
  }

  // Rows of unit length in the mean, so that no layer drowns another.
  std::vector<std::byte> values(const GgufTensorPlan& t) {
    const bool is_vector = t.type == DType::kF32;
    const uint64_t n = t.shape.elements();
    const float scale = is_vector ? 0.1F : 1 / std::sqrt(static_cast<float>(t.shape.cols()));
    std::vector<float> x(n);
    for (float& v : x) v = (is_vector ? 1.F : 0.F) + scale * normal_(random_);
    std::vector<std::byte> out(row_bytes(t.type, n));
    encode_row(t.type, x.data(), n, out.data());
    return out;
  }

 private:
  const ClusterModel& m_;
  const DType type_;
  std::mt19937 random_{11};
  std::normal_distribution<float> normal_;
};

}  // namespace

void write_cluster_model(const ClusterModel& model, DType type, const std::filesystem::path& path) {
  Builder builder(model, type);
  GgufWriter out(path, builder.metadata(), builder.plan());
  for (const GgufTensorPlan& t : builder.plan()) out.append(builder.values(t));
  out.finish();
}

}  // namespace stretto::test
