// Checkpoints written by torch.save: a ZIP archive with one pickle and the bytes of its storages. They are read to be
// converted, not to be run. (Low-bit checkpoint specification, section 6.)
#pragma once

#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.h"

namespace stretto {

struct PtOptions {
  // Some writers leave the checksums of storages out; that of the pickle is always verified.
  bool verify_storages = true;
};

// What a .pt file holds.
struct PtContent {
  std::vector<StoredTensor> tensors;                 // views into the file, or into `copies`
  std::vector<std::unique_ptr<std::byte[]>> copies;  // of tensors that do not lie contiguously
  Metadata config{/*from_json=*/true};  // the checkpoint's `config`, nested dicts as dotted keys; empty when absent
  std::vector<std::string> warnings;
};

// Parses the whole file `file`, called `label` in messages. The state dict is the top value, or what one of the usual
// keys names in it (model_state_dict, state_dict, model, ...); prefixes module. and _orig_mod. of all names are taken
// off. Tensors of more than four dimensions have their leading ones multiplied into one. Throws Error(kInvalidModel).
PtContent parse_pt(std::span<const std::byte> file, std::string_view label, const PtOptions& options = {});

// The same as a checkpoint in the Hugging Face manner: `config` is its metadata. Where that has no model_type but names
// swap_layers, it is swap_ffn: the training code of those models writes none. Throws Error: kNotFound, kInvalidModel.
std::unique_ptr<Checkpoint> open_pt(const std::filesystem::path& path, const PtOptions& options = {});

}  // namespace stretto
