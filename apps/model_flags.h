// Flags that several commands share.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "device.h"
#include "engine/engine.h"
#include "flags.h"

namespace stretto::app {

// What a command is: adds its subcommand and returns; the callback runs it.
using AddCommand = void (*)(const Flags& app, int& exit_code);
void add_run(const Flags& app, int& exit_code);
void add_logits(const Flags& app, int& exit_code);
void add_tokenize(const Flags& app, int& exit_code);
void add_plan(const Flags& app, int& exit_code);
void add_profile(const Flags& app, int& exit_code);
void add_inspect(const Flags& app, int& exit_code);
void add_template(const Flags& app, int& exit_code);
void add_bench(const Flags& app, int& exit_code);
void add_chat(const Flags& app, int& exit_code);
void add_doctor(const Flags& app, int& exit_code);
void add_convert(const Flags& app, int& exit_code);
void add_perplexity(const Flags& app, int& exit_code);

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
void add_model_flags(const Flags& command, ModelFlags& o);
// --pre, --add-bos, --fix-mistral-regex.
void add_tokenizer_flags(const Flags& command, ModelFlags& o);
// --device, -t, --cpu-isa, -c, -b, --cache-type (also -ctk), --cache-type-v (also -ctv).
void add_device_flags(const Flags& command, ModelFlags& o);

}  // namespace stretto::app
