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

void take(const Json& object, const char* key, double& into, std::string& origin) {
  const auto it = object.find(key);
  if (it == object.end() || !it->is_number()) return;
  into = it->get<double>();
  origin += fmt::format(" {}={}", key, into);
}

void take(const Metadata& m, const char* key, double& into, std::string& origin) {
  const auto v = m.get_float(std::string("general.sampling.") + key);
  if (!v) return;
  into = *v;
  origin += fmt::format(" {}={:.4g}", key, into);
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
  double top_k = p.top_k;
  if (checkpoint.container() == Container::kGguf) {
    const Metadata& m = checkpoint.metadata();
    take(m, "temp", p.temperature, *origin);
    if (const auto k = m.get_int("general.sampling.top_k")) {
      top_k = static_cast<double>(*k);
      *origin += fmt::format(" top_k={}", *k);
    }
    take(m, "top_p", p.top_p, *origin);
    take(m, "min_p", p.min_p, *origin);
  } else {
    const Json g = side_json(checkpoint, "generation_config.json");
    take(g, "temperature", p.temperature, *origin);
    take(g, "top_k", top_k, *origin);
    take(g, "top_p", p.top_p, *origin);
    take(g, "min_p", p.min_p, *origin);
  }
  p.top_k = static_cast<int32_t>(std::clamp(top_k, -1.0, 1e9));
  return p;
}

}  // namespace stretto
