// The names of a weight in the two containers. Roles are Stretto's own words for what a tensor does.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace stretto {

// "{l}" stands for the layer and "{e}" for the expert (a stacked weight stored expert by expert).
struct TensorName {
  std::string_view role;
  std::string_view gguf;  // empty: does not occur in this container
  std::string_view hf;
};

// What Llama, Mistral, Qwen and most others use.
std::span<const TensorName> standard_tensor_names();

// `pattern` with "{l}" and "{e}" filled in.
std::string expand_tensor_name(std::string_view pattern, int layer, int expert = 0);

}  // namespace stretto
