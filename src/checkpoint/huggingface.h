// A Hugging Face model directory: config.json, safetensors weights (one file, or shards with an index), side files.
#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "checkpoint/checkpoint.h"

namespace stretto {

// config.json as metadata: nested objects become dotted keys ("rope_parameters.rope_theta"); arrays of scalars of one
// kind stay arrays (integers and floats mix to floats); other arrays become "layers.0", "layers.1.kind", ...
// An object {"__float__": "Infinity"} is the float it stands for. Throws Error(kInvalidModel), `label` in its message.
Metadata flatten_config(std::string_view json_text, std::string_view label);

// `name` in directory `dir`: a plain name (no '/', '\', "..", NUL), or one in a folder of a plain name, of a file that
// exists and whose real path lies in `dir` or, for a snapshot in a hub cache (models--org--name/snapshots/<rev>), in
// that models--org--name directory. nullopt when there is no such file. Throws Error(kInvalidModel) when the name or
// the place is not allowed.
std::optional<std::filesystem::path> find_side_file(const std::filesystem::path& dir, const std::string& name);

// Throws Error: kNotFound (no config.json, no weights, a shard is missing), kInvalidModel, kUnsupported (only pickled
// weights).
std::unique_ptr<Checkpoint> open_huggingface(const std::filesystem::path& dir, const OpenOptions& options);

}  // namespace stretto
