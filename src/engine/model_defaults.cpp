// What a checkpoint says about how it wants to be run: end tokens and sampling.

#include <algorithm>

#include "base/json.h"
#include "engine/engine.h"

namespace stretto {
namespace {

Json side_json(const Checkpoint& checkpoint, std::string_view file) {
  const auto text = checkpoint.side_file(file);
  return text ? parse_json(*text, file) : Json::object();
}

// eos_token_id is a number or a list of numbers.
void add_ids(const Json& object, std::vector<int32_t>& ids) {
  const auto it = object.find("eos_token_id");
  if (it == object.end()) return;
  for (const Json& v : it->is_array() ? *it : Json::array({*it}))
    if (v.is_number_integer()) ids.push_back(v.get<int32_t>());
}

// One number of the model's own defaults, with what it is called in each container (empty: not there).
struct Default {
  const char* gguf;
  const char* hf;
  void (*set)(SamplingParams&, double);
};

int32_t whole(double v) { return static_cast<int32_t>(std::clamp(v, -1.0, 1e9)); }

constexpr Default kDefaults[] = {
    {"temp", "temperature", [](SamplingParams& p, double v) { p.temperature = v; }},
    {"top_k", "top_k", [](SamplingParams& p, double v) { p.top_k = whole(v); }},
    {"top_p", "top_p", [](SamplingParams& p, double v) { p.top_p = v; }},
    {"min_p", "min_p", [](SamplingParams& p, double v) { p.min_p = v; }},
    {"", "typical_p", [](SamplingParams& p, double v) { p.typical_p = v; }},
    {"xtc_probability", "", [](SamplingParams& p, double v) { p.xtc_probability = v; }},
    {"xtc_threshold", "", [](SamplingParams& p, double v) { p.xtc_threshold = v; }},
    {"penalty_last_n", "", [](SamplingParams& p, double v) { p.repeat_last_n = whole(v); }},
    {"penalty_repeat", "repetition_penalty", [](SamplingParams& p, double v) { p.repeat_penalty = v; }},
    {"mirostat", "", [](SamplingParams& p, double v) { p.mirostat = whole(v); }},
    {"mirostat_tau", "", [](SamplingParams& p, double v) { p.mirostat_tau = v; }},
    {"mirostat_eta", "", [](SamplingParams& p, double v) { p.mirostat_eta = v; }},
};

std::optional<double> gguf_number(const Metadata& m, const std::string& key) {
  if (!m.has(key)) return std::nullopt;
  if (m.find(key)->type == MetaType::kF32 || m.find(key)->type == MetaType::kF64) return m.get_float(key);
  return static_cast<double>(m.get_int(key).value());
}

std::optional<double> json_number(const Json& object, const char* key) {
  const auto it = object.find(key);
  return it == object.end() || !it->is_number() ? std::nullopt : std::optional<double>(it->get<double>());
}

}  // namespace

std::vector<int32_t> end_ids(const Checkpoint& checkpoint, const Tokenizer* tokenizer) {
  if (tokenizer != nullptr) return tokenizer->eog_ids();
  std::vector<int32_t> ids;
  if (checkpoint.container() == Container::kGguf) {
    if (const auto eos = checkpoint.metadata().get_uint("tokenizer.ggml.eos_token_id", INT32_MAX))
      ids.push_back(static_cast<int32_t>(*eos));
    return ids;
  }
  add_ids(side_json(checkpoint, "generation_config.json"), ids);
  if (ids.empty()) add_ids(side_json(checkpoint, "config.json"), ids);
  return ids;
}

SamplingParams default_sampling(const Checkpoint& checkpoint, std::string* origin) {
  SamplingParams p;
  const bool gguf = checkpoint.container() == Container::kGguf;
  const Json generation = gguf ? Json::object() : side_json(checkpoint, "generation_config.json");
  for (const Default& d : kDefaults) {
    const char* name = gguf ? d.gguf : d.hf;
    if (*name == 0) continue;
    const auto value = gguf ? gguf_number(checkpoint.metadata(), std::string("general.sampling.") + name)
                            : json_number(generation, name);
    if (!value) continue;
    d.set(p, *value);
    *origin += fmt::format(" {}={:.4g}", name, *value);
  }
  return p;
}

}  // namespace stretto
