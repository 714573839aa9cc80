// The architectures that Stretto knows, and the one way from a checkpoint to a program.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "models/decoder_spec.h"
#include "models/model_reader.h"
#include "program/program.h"

namespace stretto {

struct ModelOptions {
  DType kv_type = DType::kF16;  // encoding of the KV cache
  Strictness strictness = Strictness::kStrict;
  SwapRecording swap = {};  // a hook for tests
};

// A model ready to be compiled: its program and what the engine needs to know about it.
struct Model {
  Program program;
  DecoderSpec spec;
  std::vector<std::string> warnings;  // of --lenient
};

struct Architecture {
  std::string_view name;                         // GGUF's general.architecture; empty: none
  std::vector<std::string_view> hf_model_types;  // config.json's model_type
  std::span<const TensorName> deviations;        // names that differ from the standard table
  DecoderSpec (*read_spec)(ModelReader&);
};

// One line per architecture, in registry.cpp.
std::span<const Architecture> architectures();

// Throws Error: kUnsupported for an architecture that is not in the list, kInvalidModel for a model that breaks it.
// The checkpoint must outlive the model: the program's weights are views into it.
Model load_model(const Checkpoint& checkpoint, const ModelOptions& options = {});

}  // namespace stretto
