#include "models/decoder_spec.h"

#include <cmath>

#include "base/error.h"
#include "models/model_reader.h"
#include "models/rope_config.h"

namespace stretto {
namespace {

// Caps well above every published model: a hostile file must not make us plan absurd sizes.
constexpr uint64_t kMaxLayers = 1024, kMaxWidth = 1 << 20, kMaxHeads = 4096, kMaxVocab = 1 << 22, kMaxExperts = 4096;

void require(bool condition, ModelReader& r, std::string_view what) {
  if (!condition) fail(ErrorKind::kInvalidModel, "architecture {}: {}", r.architecture(), what);
}

// GGUF allows an array with one value per layer where a number is meant; here all layers must agree.
uint64_t same_for_all_layers(ModelReader& r, ConfigKey key, uint64_t fallback) {
  const auto values = r.find_uints(key);
  if (!values || values->empty()) return fallback;
  for (const uint64_t v : *values) {
    if (v != values->front())
      fail(ErrorKind::kUnsupported, "{} differs between layers ({} and {})", r.key_name(key), values->front(), v);
  }
  return values->front();
}

void read_head_dim(ModelReader& r, DecoderSpec& s, const HfDefaults& defaults) {
  const uint64_t fallback = defaults.head_dim != 0 && !r.is_gguf() ? defaults.head_dim : s.d_model / s.n_heads;
  s.head_dim = r.find_uint({"attention.key_length", "head_dim"}, kMaxWidth).value_or(fallback);
  const uint64_t value_dim = r.find_uint({"attention.value_length", ""}, kMaxWidth).value_or(s.head_dim);
  require(s.head_dim > 0 && s.head_dim % 2 == 0, r, fmt::format("head size {} must be even and positive", s.head_dim));
  require(value_dim == s.head_dim, r, fmt::format("key length {} and value length {} differ", s.head_dim, value_dim));
}

void read_window(ModelReader& r, DecoderSpec& s) {
  const bool use = r.find_bool({"", "use_sliding_window"}).value_or(true);
  const uint64_t window = r.find_uint({"attention.sliding_window", "sliding_window"}).value_or(0);
  s.window = use ? window : 0;
}

uint64_t read_vocab(ModelReader& r, DecoderSpec& s) {
  const uint64_t rows = r.rows_of("token_embd", -1);
  const uint64_t stated = r.find_uint({"vocab_size", "vocab_size"}, kMaxVocab).value_or(rows);
  require(rows > 0 && rows <= kMaxVocab, r, "tensor token_embd is missing or has no rows");
  require(stated == rows, r, fmt::format("vocab_size is {}, but token_embd has {} rows", stated, rows));
  s.tied = r.is_gguf() ? !r.has("output", -1) : r.find_bool({"", "tie_word_embeddings"}).value_or(false);
  return rows;
}

}  // namespace

DecoderSpec read_decoder_spec(ModelReader& r, const HfDefaults& defaults) {
  DecoderSpec s;
  s.n_layers = r.uint({"block_count", "num_hidden_layers"}, kMaxLayers);
  s.d_model = r.uint({"embedding_length", "hidden_size"}, kMaxWidth);
  s.n_heads = same_for_all_layers(r, {"attention.head_count", "num_attention_heads"}, 0);
  require(s.n_layers > 0 && s.d_model > 0, r, "block_count and embedding_length must be positive");
  require(s.n_heads > 0 && s.n_heads <= kMaxHeads, r, fmt::format("{} attention heads", s.n_heads));
  const uint64_t kv_default = defaults.n_kv_heads != 0 && !r.is_gguf() ? defaults.n_kv_heads : s.n_heads;
  s.n_kv_heads = same_for_all_layers(r, {"attention.head_count_kv", "num_key_value_heads"}, kv_default);
  require(s.n_kv_heads > 0 && s.n_heads % s.n_kv_heads == 0, r,
          fmt::format("{} query heads cannot share {} key/value heads", s.n_heads, s.n_kv_heads));
  read_head_dim(r, s, defaults);
  s.d_ff = same_for_all_layers(r, {"feed_forward_length", "intermediate_size"}, 0);
  require(s.d_ff <= kMaxWidth, r, fmt::format("feed_forward_length {} is absurd", s.d_ff));
  s.context_length = r.uint({"context_length", "max_position_embeddings"});
  s.rms_eps = static_cast<float>(r.is_gguf() ? r.number({"attention.layer_norm_rms_epsilon", ""})
                                             : r.find_number({"", "rms_norm_eps"}).value_or(defaults.rms_eps));
  require(s.rms_eps > 0 && s.rms_eps < 1, r, fmt::format("RMS epsilon {}", s.rms_eps));
  s.attn_scale = static_cast<float>(1 / std::sqrt(static_cast<double>(s.head_dim)));
  const double partial = r.find_number({"", "partial_rotary_factor"}).value_or(1);
  const auto from_partial = static_cast<uint64_t>(partial * static_cast<double>(s.head_dim));
  const uint64_t rotary = r.find_uint({"rope.dimension_count", ""}, kMaxWidth).value_or(from_partial);
  require(rotary > 0 && rotary <= s.head_dim && rotary % 2 == 0, r,
          fmt::format("{} rotated dimensions in a head of {}", rotary, s.head_dim));
  s.rope = read_rope(r, rotary, s.context_length);
  s.vocab_size = read_vocab(r, s);
  read_window(r, s);
  r.expect_string({"", "hidden_act"}, "silu", "only SwiGLU is known for this family");
  r.expect_bool({"attention.causal", ""}, true, "only causal attention is supported");
  // Biases are taken where the tensors exist; these keys only announce them.
  r.ignore({{"", "attention_bias"}, {"", "mlp_bias"}, {"tensor_data_layout", ""}});
  return s;
}

MoeSpec read_moe_spec(ModelReader& r, const DecoderSpec& spec) {
  MoeSpec m;
  const auto old_name = r.find_uint({"", "num_experts"}, kMaxExperts);
  m.n_experts = r.find_uint({"expert_count", "num_local_experts"}, kMaxExperts).value_or(old_name.value_or(0));
  m.top_k = r.find_uint({"expert_used_count", "num_experts_per_tok"}, kMaxExperts).value_or(0);
  require(m.n_experts > 0 && m.top_k > 0 && m.top_k <= m.n_experts, r,
          fmt::format("{} of {} experts per token", m.top_k, m.n_experts));
  m.d_ff =
      r.find_uint({"expert_feed_forward_length", "moe_intermediate_size"}, kMaxWidth).value_or(spec.d_ff / m.top_k);
  require(m.d_ff > 0, r, "experts of width 0");
  const double scale = r.find_number({"expert_weights_scale", ""}).value_or(0);
  if (scale != 0) m.weight_scale = static_cast<float>(scale);
  return m;
}

}  // namespace stretto
