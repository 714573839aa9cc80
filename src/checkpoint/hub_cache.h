// The local Hugging Face cache, only ever read: org/name[@rev][:FILE-or-QUANT] -> a path.
// Layout: ROOT/models--org--name/{refs/<rev>, snapshots/<commit>/<file> -> ../../blobs/<hash>}.
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace stretto {

struct HubName {
  std::string organisation;
  std::string name;
  std::string revision;  // empty: main
  std::string selector;  // empty, a file of the repository, or a quantisation such as Q4_K_M
};

// nullopt when `text` does not have the form of a hub name.
std::optional<HubName> parse_hub_name(const std::string& text);

// Looks a variable up; nullopt when it is not set. Tests inject their own.
using Environment = std::function<std::optional<std::string>(const char*)>;
std::optional<std::string> process_environment(const char* name);

// The first of LLAMA_CACHE, HF_HUB_CACHE, HUGGINGFACE_HUB_CACHE, HF_HOME/hub, XDG_CACHE_HOME/huggingface/hub,
// HOME/.cache/huggingface/hub whose variable is set and not empty. Throws Error(kNotFound) when none is.
std::filesystem::path hub_cache_root(const Environment& environment);

// The GGUF file (part 1 of a split one) or the snapshot directory that `wanted` names. Throws Error: kNotFound (not in
// the cache, with the command that gets it), kBadArgument (several files fit: they are listed), kInvalidModel (a path
// that leads out of the cache).
std::filesystem::path resolve_hub_name(const HubName& wanted, const Environment& environment);

}  // namespace stretto
