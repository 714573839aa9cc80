// Parts of Hugging Face checkpoints that do not change the text model's result.
#pragma once

#include <string_view>

namespace stretto {

// config.json keys (dotted paths) that concern training, storage, generation or other modalities.
// `text_prefix` is "text_config." in multimodal checkpoints, where everything beside it is about other towers.
bool is_known_unused_config_key(std::string_view key, std::string_view text_prefix);

// Vision and audio towers, projectors, cached rotary tables and mask buffers.
bool is_known_unused_tensor(std::string_view name);

}  // namespace stretto
