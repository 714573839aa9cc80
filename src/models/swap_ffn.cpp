// The swap-FFN hybrid's baseline: a plain dense decoder under its own names.
// What is different about it: short configuration keys; q, k and v in one tensor; tensor names of its training code.
// Layers with swap modules are refused.

#include <cmath>

#include "base/error.h"
#include "models/architectures.h"
#include "models/model_reader.h"
#include "models/rope_config.h"

namespace stretto {
namespace {

constexpr TensorName kNames[] = {
    {"token_embd", "token_embd.weight", "emb.weight"},
    {"output_norm", "output_norm.weight", "nf"},
    {"output", "output.weight", "head.weight"},
    {"attn_norm", "blk.{l}.attn_norm.weight", "blocks.{l}.n1"},
    {"attn_qkv", "blk.{l}.attn_qkv.weight", "blocks.{l}.qkv.weight"},
    {"attn_output", "blk.{l}.attn_output.weight", "blocks.{l}.o.weight"},
    {"ffn_norm", "blk.{l}.ffn_norm.weight", "blocks.{l}.n2"},
    {"ffn_gate", "blk.{l}.ffn_gate.weight", "blocks.{l}.w1.weight"},
    {"ffn_up", "blk.{l}.ffn_up.weight", "blocks.{l}.w3.weight"},
    {"ffn_down", "blk.{l}.ffn_down.weight", "blocks.{l}.w2.weight"},
};
// Neither container states a context length; the model is judged at 2048 + 64 positions.
constexpr uint64_t kDefaultContext = 4096;

}  // namespace

std::span<const TensorName> swap_ffn_names() { return kNames; }

DecoderSpec read_swap_ffn(ModelReader& r) {
  DecoderSpec s;
  s.n_layers = r.uint({"block_count", "n_layer"}, 1024);
  s.d_model = r.uint({"embedding_length", "d_model"}, 1 << 20);
  s.n_heads = r.uint({"attention.head_count", "n_head"}, 4096);
  s.n_kv_heads = r.uint({"attention.head_count_kv", "n_kv_head"}, 4096);
  s.d_ff = r.uint({"feed_forward_length", "d_ff"}, 1 << 20);
  s.rms_eps = static_cast<float>(r.find_number({"attention.layer_norm_rms_epsilon", "rms_eps"}).value_or(1e-5));
  s.vocab_size = r.uint({"vocab_size", "vocab_size"}, 1 << 22);
  s.context_length = r.find_uint({"context_length", "context_length"}).value_or(kDefaultContext);
  if (s.n_layers == 0 || s.n_heads == 0 || s.n_kv_heads == 0 || s.n_heads % s.n_kv_heads != 0 ||
      s.d_model % s.n_heads != 0 || s.d_model / s.n_heads % 2 != 0)
    fail(ErrorKind::kInvalidModel, "swap-FFN: {} layers, {} heads, {} key/value heads, width {} do not fit together",
         s.n_layers, s.n_heads, s.n_kv_heads, s.d_model);
  s.head_dim = s.d_model / s.n_heads;
  s.attn_scale = static_cast<float>(1 / std::sqrt(static_cast<double>(s.head_dim)));
  const double base = r.find_number({"rope.freq_base", "rope_theta"}).value_or(10000);
  s.rope = std::make_shared<RopeTable>(make_rope_table(base, s.head_dim, {}));
  const auto swap_layers = r.find_uints({"swap.layers", "swap_layers"}).value_or(std::vector<uint64_t>{});
  if (!swap_layers.empty())
    fail(ErrorKind::kUnsupported, "swap-FFN with {} swap layers: only the baseline (no swap layers) is supported",
         swap_layers.size());
  r.ignore({{"swap.n_banks", "n_banks"},
            {"swap.n_events", "n_events"},
            {"swap.k_ffn", "k_ffn"},
            {"swap.tau", "tau"},
            {"swap.use_hard", "use_hard"},
            {"swap.use_ste", "use_ste"},
            {"swap.token_local", "token_local"}});
  return s;
}

}  // namespace stretto
