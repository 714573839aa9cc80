// The swap-FFN hybrid, and its baseline without swap layers.
// What is different about it: some layers have a swap module for an FFN (docs/swap-ffn.md, blocks/swap.cpp); short
// configuration keys; q, k and v in one tensor; tensor names of its training code.

#include <algorithm>
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
    {"swap_w1", "blk.{l}.swap_w1.weight", "blocks.{l}.ffn.w1"},
    {"swap_w3", "blk.{l}.swap_w3.weight", "blocks.{l}.ffn.w3"},
    {"swap_w2", "blk.{l}.swap_w2.weight", "blocks.{l}.ffn.w2"},
    {"swap_event_norm", "blk.{l}.swap_event_norm.weight", "blocks.{l}.ffn.event_norm"},
    {"swap_router", "blk.{l}.swap_router.weight", "blocks.{l}.ffn.router_w"},
    {"swap_router.bias", "blk.{l}.swap_router.bias", "blocks.{l}.ffn.router_b"},
    {"swap_switch", "blk.{l}.swap_switch.weight", "blocks.{l}.ffn.switch_w"},
    {"swap_switch.bias", "blk.{l}.swap_switch.bias", "blocks.{l}.ffn.switch_b"},
    {"swap_read", "blk.{l}.swap_read.weight", "blocks.{l}.ffn.read_w"},
    {"swap_read.bias", "blk.{l}.swap_read.bias", "blocks.{l}.ffn.read_b"},
    {"swap_collapse_norm", "blk.{l}.swap_collapse_norm.weight", "blocks.{l}.ffn.collapse_norm"},
    {"swap_collapse", "blk.{l}.swap_collapse.weight", "blocks.{l}.ffn.collapse_w"},
    {"swap_collapse.bias", "blk.{l}.swap_collapse.bias", "blocks.{l}.ffn.collapse_b"},
};
// Neither container states a context length; the model is judged at 2048 + 64 positions.
constexpr uint64_t kDefaultContext = 4096;
// Caps well above what was ever trained: a layer is n_events * (k_ffn + 2) ops.
constexpr uint64_t kMaxBanks = 4096, kMaxEvents = 64, kMaxFfnSteps = 16;

SwapSpec read_swap_spec(ModelReader& r, uint64_t n_layers) {
  SwapSpec s;
  s.layers = r.find_uints({"swap.layers", "swap_layers"}).value_or(std::vector<uint64_t>{});
  std::sort(s.layers.begin(), s.layers.end());
  if (std::adjacent_find(s.layers.begin(), s.layers.end()) != s.layers.end() ||
      (!s.layers.empty() && s.layers.back() >= n_layers))
    fail(ErrorKind::kInvalidModel, "swap-FFN: a swap layer is named twice, or is beyond the {} layers", n_layers);
  s.token_local = r.find_bool({"swap.token_local", "token_local"}).value_or(true);
  // The soft form and tau matter in training only.
  r.ignore({{"swap.tau", "tau"}, {"swap.use_ste", "use_ste"}});
  r.expect_bool({"swap.use_hard", "use_hard"}, true, "soft decisions exist in training only");
  if (s.layers.empty()) {
    r.ignore({{"swap.n_banks", "n_banks"}, {"swap.n_events", "n_events"}, {"swap.k_ffn", "k_ffn"}});
    return s;
  }
  s.n_banks = r.uint({"swap.n_banks", "n_banks"}, kMaxBanks);
  s.n_events = r.uint({"swap.n_events", "n_events"}, kMaxEvents);
  s.k_ffn = r.uint({"swap.k_ffn", "k_ffn"}, kMaxFfnSteps);
  if (s.n_banks == 0 || s.n_events == 0 || s.k_ffn == 0)
    fail(ErrorKind::kInvalidModel, "swap-FFN: {} banks, {} events of {} FFN steps; wanted at least one of each",
         s.n_banks, s.n_events, s.k_ffn);
  return s;
}

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
  if (s.n_layers == 0 || s.d_ff == 0 || s.n_heads == 0 || s.n_kv_heads == 0 || s.n_heads % s.n_kv_heads != 0 ||
      s.d_model % s.n_heads != 0 || s.d_model / s.n_heads % 2 != 0)
    fail(ErrorKind::kInvalidModel, "swap-FFN: {} layers, {} heads, {} key/value heads, width {} do not fit together",
         s.n_layers, s.n_heads, s.n_kv_heads, s.d_model);
  s.head_dim = s.d_model / s.n_heads;
  s.attn_scale = static_cast<float>(1 / std::sqrt(static_cast<double>(s.head_dim)));
  const double base = r.find_number({"rope.freq_base", "rope_theta"}).value_or(10000);
  s.rope = std::make_shared<RopeTable>(make_rope_table(base, s.head_dim, {}));
  s.swap = read_swap_spec(r, s.n_layers);
  return s;
}

}  // namespace stretto
