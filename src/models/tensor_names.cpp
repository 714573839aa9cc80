#include "models/tensor_names.h"

namespace stretto {
namespace {

constexpr TensorName kStandard[] = {
    {"token_embd", "token_embd.weight", "model.embed_tokens.weight"},
    {"output_norm", "output_norm.weight", "model.norm.weight"},
    {"output", "output.weight", "lm_head.weight"},
    {"rope_freqs", "rope_freqs.weight", ""},
    {"attn_norm", "blk.{l}.attn_norm.weight", "model.layers.{l}.input_layernorm.weight"},
    {"attn_qkv", "blk.{l}.attn_qkv.weight", "model.layers.{l}.self_attn.qkv_proj.weight"},
    {"attn_qkv.bias", "blk.{l}.attn_qkv.bias", "model.layers.{l}.self_attn.qkv_proj.bias"},
    {"attn_q", "blk.{l}.attn_q.weight", "model.layers.{l}.self_attn.q_proj.weight"},
    {"attn_k", "blk.{l}.attn_k.weight", "model.layers.{l}.self_attn.k_proj.weight"},
    {"attn_v", "blk.{l}.attn_v.weight", "model.layers.{l}.self_attn.v_proj.weight"},
    {"attn_q.bias", "blk.{l}.attn_q.bias", "model.layers.{l}.self_attn.q_proj.bias"},
    {"attn_k.bias", "blk.{l}.attn_k.bias", "model.layers.{l}.self_attn.k_proj.bias"},
    {"attn_v.bias", "blk.{l}.attn_v.bias", "model.layers.{l}.self_attn.v_proj.bias"},
    {"attn_q_norm", "blk.{l}.attn_q_norm.weight", "model.layers.{l}.self_attn.q_norm.weight"},
    {"attn_k_norm", "blk.{l}.attn_k_norm.weight", "model.layers.{l}.self_attn.k_norm.weight"},
    {"attn_output", "blk.{l}.attn_output.weight", "model.layers.{l}.self_attn.o_proj.weight"},
    {"attn_output.bias", "blk.{l}.attn_output.bias", "model.layers.{l}.self_attn.o_proj.bias"},
    {"ffn_norm", "blk.{l}.ffn_norm.weight", "model.layers.{l}.post_attention_layernorm.weight"},
    {"ffn_gate", "blk.{l}.ffn_gate.weight", "model.layers.{l}.mlp.gate_proj.weight"},
    {"ffn_up", "blk.{l}.ffn_up.weight", "model.layers.{l}.mlp.up_proj.weight"},
    {"ffn_down", "blk.{l}.ffn_down.weight", "model.layers.{l}.mlp.down_proj.weight"},
    {"ffn_gate.bias", "blk.{l}.ffn_gate.bias", "model.layers.{l}.mlp.gate_proj.bias"},
    {"ffn_up.bias", "blk.{l}.ffn_up.bias", "model.layers.{l}.mlp.up_proj.bias"},
    {"ffn_down.bias", "blk.{l}.ffn_down.bias", "model.layers.{l}.mlp.down_proj.bias"},
    {"ffn_router", "blk.{l}.ffn_gate_inp.weight", "model.layers.{l}.mlp.gate.weight"},
    {"ffn_gate_exps", "blk.{l}.ffn_gate_exps.weight", "model.layers.{l}.mlp.experts.{e}.gate_proj.weight"},
    {"ffn_up_exps", "blk.{l}.ffn_up_exps.weight", "model.layers.{l}.mlp.experts.{e}.up_proj.weight"},
    {"ffn_down_exps", "blk.{l}.ffn_down_exps.weight", "model.layers.{l}.mlp.experts.{e}.down_proj.weight"},
    // Alternatives: gate rows first, then up rows; down stacked.
    {"ffn_gate_up_exps", "blk.{l}.ffn_gate_up_exps.weight", "model.layers.{l}.mlp.experts.gate_up_proj"},
    {"ffn_down_exps.stacked", "", "model.layers.{l}.mlp.experts.down_proj"},
};

}  // namespace

std::span<const TensorName> standard_tensor_names() { return kStandard; }

std::string expand_tensor_name(std::string_view pattern, int layer, int expert) {
  std::string out;
  for (size_t i = 0; i < pattern.size();) {
    const std::string_view mark = pattern.substr(i, 3);
    if (mark == "{l}" || mark == "{e}") {
      out += std::to_string(mark == "{l}" ? layer : expert);
      i += 3;
    } else {
      out += pattern[i++];
    }
  }
  return out;
}

}  // namespace stretto
