#include "models/rope_config.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace stretto {
namespace {

using Kind = RopeScaling::Kind;

double llama3_divisor(const RopeScaling& s, double inv_freq) {
  const double wavelength = 2 * M_PI / inv_freq;
  if (wavelength < s.original_context / s.high_freq_factor) return 1;
  if (wavelength > s.original_context / s.low_freq_factor) return s.factor;
  const double t = (s.original_context / wavelength - s.low_freq_factor) / (s.high_freq_factor - s.low_freq_factor);
  return 1 / ((1 - t) / s.factor + t);
}

void apply_yarn(const RopeScaling& s, double base, std::vector<double>& inv_freq) {
  const auto rotary_dim = static_cast<double>(2 * inv_freq.size());
  const auto corr = [&](double r) {
    return rotary_dim * std::log(s.original_context / (2 * M_PI * r)) / (2 * std::log(base));
  };
  const double low = std::max(0.0, std::floor(corr(s.beta_fast)));
  const double high = std::min(rotary_dim - 1, std::ceil(corr(s.beta_slow)));
  for (size_t i = 0; i < inv_freq.size(); ++i) {
    const double ramp = std::clamp((static_cast<double>(i) - low) / std::max(0.001, high - low), 0.0, 1.0);
    inv_freq[i] = inv_freq[i] / s.factor * ramp + inv_freq[i] * (1 - ramp);
  }
}

Kind kind_of(const std::string& type, const std::string& key) {
  if (type == "default" || type == "none") return Kind::kNone;
  if (type == "linear") return Kind::kLinear;
  if (type == "llama3") return Kind::kLlama3;
  if (type == "yarn") return Kind::kYarn;
  fail(ErrorKind::kUnsupported, "{} = \"{}\": known kinds are default, linear, llama3 and yarn", key, type);
}

void require_positive(double value, std::string_view what) {
  if (!(value > 0) || !std::isfinite(value))
    fail(ErrorKind::kInvalidModel, "{} must be a positive number, it is {}", what, value);
}

// GGUF: scaling is "linear" without a factor when nothing is said; llama3 shows only as the tensor rope_freqs.
RopeScaling read_gguf_scaling(ModelReader& r, uint64_t context_length) {
  RopeScaling s;
  const std::string type = r.find_string({"rope.scaling.type", ""}).value_or("linear");
  s.kind = kind_of(type, r.key_name({"rope.scaling.type", ""}));
  const std::optional<double> old_factor = r.find_number({"rope.scale_linear", ""});
  s.factor = r.find_number({"rope.scaling.factor", ""}).value_or(old_factor.value_or(1));
  if (s.factor == 0) s.factor = 1;
  s.original_context =
      static_cast<double>(r.find_uint({"rope.scaling.original_context_length", ""}).value_or(context_length));
  s.beta_fast = r.find_number({"rope.scaling.yarn_beta_fast", ""}).value_or(32);
  s.beta_slow = r.find_number({"rope.scaling.yarn_beta_slow", ""}).value_or(1);
  const double u = r.find_number({"rope.scaling.yarn_log_multiplier", ""}).value_or(0);
  if (s.kind == Kind::kYarn)
    s.mscale = u != 0 ? yarn_mscale(s.factor, 1) / yarn_mscale(s.factor, u) : yarn_mscale(s.factor, 1);
  s.mscale *= r.find_number({"rope.scaling.attn_factor", ""}).value_or(1);
  r.ignore(
      {{"rope.scaling.finetuned", ""}, {"rope.scaling.yarn_ext_factor", ""}, {"rope.scaling.yarn_attn_factor", ""}});
  return s;
}

// The three spellings of config.json: rope_parameters {..} (5.x), rope_scaling {rope_type | type, ..} (4.x).
RopeScaling read_hf_scaling(ModelReader& r, uint64_t context_length) {
  const auto number = [&](const char* name) {
    const std::string now = std::string("rope_parameters.") + name, before = std::string("rope_scaling.") + name;
    const std::optional<double> old_form = r.find_number({"", before});
    const std::optional<double> new_form = r.find_number({"", now});
    return new_form ? new_form : old_form;
  };
  RopeScaling s;
  std::string type = "default";
  for (const char* key :
       {"rope_scaling.type", "rope_scaling.rope_type", "rope_parameters.type", "rope_parameters.rope_type"})
    type = r.find_string({"", key}).value_or(type);
  s.kind = kind_of(type, "rope_type");
  s.factor = number("factor").value_or(1);
  const auto own_original = r.find_number({"", "original_max_position_embeddings"});
  s.original_context =
      number("original_max_position_embeddings").value_or(own_original.value_or(static_cast<double>(context_length)));
  s.low_freq_factor = number("low_freq_factor").value_or(1);
  s.high_freq_factor = number("high_freq_factor").value_or(4);
  s.beta_fast = number("beta_fast").value_or(32);
  s.beta_slow = number("beta_slow").value_or(1);
  const auto given = number("attention_factor"), mscale = number("mscale"), all_dim = number("mscale_all_dim");
  if (s.kind == Kind::kYarn) {
    s.mscale = given ? *given
               : mscale.value_or(0) != 0 && all_dim.value_or(0) != 0
                   ? yarn_mscale(s.factor, *mscale) / yarn_mscale(s.factor, *all_dim)
                   : yarn_mscale(s.factor, 1);
  }
  for (const char* key : {"rope_parameters.truncate", "rope_scaling.truncate"})
    r.expect_bool({"", key}, true, "unrounded YaRN bounds are not supported");
  return s;
}

}  // namespace

double yarn_mscale(double s, double u) { return s <= 1 ? 1 : 0.1 * u * std::log(s) + 1; }

RopeTable make_rope_table(double base, uint64_t rotary_dim, const RopeScaling& s) {
  require_positive(base, "the RoPE base");
  require_positive(s.factor, "the RoPE scaling factor");
  RopeTable table;
  table.mscale = s.mscale;
  for (uint64_t i = 0; i < rotary_dim / 2; ++i)
    table.inv_freq.push_back(std::pow(base, -2.0 * static_cast<double>(i) / static_cast<double>(rotary_dim)));
  if (s.kind == Kind::kLlama3 || s.kind == Kind::kYarn) require_positive(s.original_context, "the original context");
  if (s.kind == Kind::kYarn) apply_yarn(s, base, table.inv_freq);
  for (double& f : table.inv_freq) {
    if (s.kind == Kind::kLinear) f /= s.factor;
    if (s.kind == Kind::kLlama3) f /= llama3_divisor(s, f);
  }
  return table;
}

std::shared_ptr<const RopeTable> read_rope(ModelReader& r, uint64_t rotary_dim, uint64_t context_length) {
  const RopeScaling scaling = r.is_gguf() ? read_gguf_scaling(r, context_length) : read_hf_scaling(r, context_length);
  const auto nested = r.find_number({"", "rope_parameters.rope_theta"});
  const double base = nested.value_or(r.find_number({"rope.freq_base", "rope_theta"}).value_or(10000));
  auto table = std::make_shared<RopeTable>(make_rope_table(base, rotary_dim, scaling));
  const std::vector<float> divisors = r.read_vector("rope_freqs", rotary_dim / 2);
  for (size_t i = 0; i < divisors.size(); ++i) {
    require_positive(divisors[i], "each rope_freqs divisor");
    table->inv_freq[i] /= divisors[i];
  }
  const double beta =
      r.find_number({"attention.temperature_scale", "rope_parameters.llama_4_scaling_beta"}).value_or(0);
  if (beta != 0) {
    require_positive(scaling.original_context, "the original context");
    table->temperature_beta = beta;
    table->temperature_context = scaling.original_context;
  }
  return table;
}

}  // namespace stretto
