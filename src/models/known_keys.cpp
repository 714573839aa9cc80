#include "models/known_keys.h"

#include <algorithm>

namespace stretto {
namespace {

constexpr std::string_view kUnusedKeys[] = {
    "_name_or_path",
    "_attn_implementation",
    "_attn_implementation_autoset",
    "architectures",
    "attention_dropout",
    "bos_token_id",
    "chunk_size_feed_forward",
    "classifier_dropout",
    "dtype",
    "embd_pdrop",
    "eos_token_id",
    "finetuning_task",
    "hidden_dropout",
    "initializer_range",
    "is_decoder",
    "is_encoder_decoder",
    "layer_types",
    "length_penalty",
    "max_length",
    "max_window_layers",
    "min_length",
    "model_type",
    "name_or_path",
    "num_beams",
    "num_return_sequences",
    "output_attentions",
    "output_hidden_states",
    "output_past",
    "output_router_logits",
    "pad_token_id",
    "prefix",
    "pretraining_tp",
    "problem_type",
    "quantization",
    "resid_pdrop",
    "return_dict",
    "router_aux_loss_coef",
    "sep_token_id",
    "temperature",
    "tokenizer_class",
    "top_p",
    "torch_dtype",
    "transformers_version",
    "unsloth_fixed",
    "unsloth_version",
    "use_bfloat16",
    "use_cache",
    // The swap-FFN training form.
    "tau",
    "use_hard",
    "use_ste",
};
constexpr std::string_view kUnusedPrefixes[] = {
    "architectures.",        "auto_map.",      "id2label.",     "label2id.", "layer_types.",
    "task_specific_params.", "vision_config.", "audio_config.",
};
constexpr std::string_view kUnusedTensorParts[] = {
    "vision_tower", "multi_modal_projector", "vision_model",        "audio_tower",
    "embed_vision", "embed_audio",           "vision_encoder",      "vision_language_adapter",
    "patch_merger", "pre_mm_projector_norm", "rotary_emb.inv_freq", ".attn.masked_bias",
    ".attn.bias",
};

}  // namespace

bool is_known_unused_config_key(std::string_view key, std::string_view text_prefix) {
  if (!text_prefix.empty() && !key.starts_with(text_prefix)) return true;
  key.remove_prefix(std::min(text_prefix.size(), key.size()));
  const auto is_prefix = [&](std::string_view p) { return key.starts_with(p); };
  return std::find(std::begin(kUnusedKeys), std::end(kUnusedKeys), key) != std::end(kUnusedKeys) ||
         std::any_of(std::begin(kUnusedPrefixes), std::end(kUnusedPrefixes), is_prefix);
}

bool is_known_unused_tensor(std::string_view name) {
  return std::any_of(std::begin(kUnusedTensorParts), std::end(kUnusedTensorParts),
                     [&](std::string_view part) { return name.find(part) != std::string_view::npos; });
}

}  // namespace stretto
