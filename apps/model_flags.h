// Flags that several commands share.
#pragma once

#include <CLI/CLI.hpp>

#include <memory>
#include <string>

#include "device.h"
#include "engine/engine.h"

namespace stretto::app {

// What a command is: adds its subcommand and returns; the callback runs it.
using Command = void (*)(CLI::App& app, int& exit_code);
void add_run(CLI::App& app, int& exit_code);
void add_logits(CLI::App& app, int& exit_code);
void add_tokenize(CLI::App& app, int& exit_code);
void add_plan(CLI::App& app, int& exit_code);
void add_profile(CLI::App& app, int& exit_code);
void add_inspect(CLI::App& app, int& exit_code);
void add_template(CLI::App& app, int& exit_code);
void add_bench(CLI::App& app, int& exit_code);
void add_chat(CLI::App& app, int& exit_code);
void add_doctor(CLI::App& app, int& exit_code);
void add_convert(CLI::App& app, int& exit_code);
void add_perplexity(CLI::App& app, int& exit_code);

struct ModelFlags {
  std::string model;
  DeviceOptions device;
  uint64_t n_ctx = 0;
  uint64_t chunk = 0;  // 0: what the device likes best
  std::string kv_type = "auto";
  std::string v_type;  // empty: like kv_type
  TokenizerOptions tokenizer;
  bool lenient = false;
  bool quiet = false;

  std::optional<DType> kv_cache_type() const;  // nullopt: the engine chooses
  Strictness strictness() const { return lenient ? Strictness::kLenient : Strictness::kStrict; }
};

// MODEL, --lenient, --quiet.
void add_model_flags(CLI::App& command, ModelFlags& o);
// --pre, --add-bos, --fix-mistral-regex.
void add_tokenizer_flags(CLI::App& command, ModelFlags& o);
// --device, -t, --cpu-isa, -c, -b, --cache-type (also -ctk), --cache-type-v (also -ctv).
void add_device_flags(CLI::App& command, ModelFlags& o);

}  // namespace stretto::app
