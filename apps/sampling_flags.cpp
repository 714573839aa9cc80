#include "sampling_flags.h"

#include <charconv>
#include <random>

#include "base/error.h"
#include "engine/engine.h"
#include "terminal.h"

namespace stretto::app {
namespace {

// "ID+1.5", "ID-2", "ID-inf" as llama.cpp writes it, or "ID=VALUE".
std::pair<int32_t, double> parse_bias(const std::string& text) {
  int32_t id = 0;
  const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), id);
  std::string value(rest, text.data() + text.size());
  if (!value.empty() && value.front() == '=') value.erase(0, 1);
  char* end = nullptr;
  const double bias = std::strtod(value.c_str(), &end);
  if (error != std::errc{} || value.empty() || *end != 0)
    fail(ErrorKind::kBadArgument, "--logit-bias {}: wanted ID+VALUE, ID-VALUE or ID=VALUE", text);
  return {id, bias};
}

std::vector<std::string> split_order(const std::string& text) {
  std::vector<std::string> out;
  std::string word;
  for (const char c : text + ";") {
    if (c == ';' || c == ',') {
      if (!word.empty()) out.push_back(word);
      word.clear();
    } else {
      word += c;
    }
  }
  return out;
}

int32_t whole(double v) { return static_cast<int32_t>(std::clamp(v, -1e9, 1e9)); }

}  // namespace

void SamplingFlags::add_number(const Flags& command, const std::string& names, const std::string& help,
                               void (*set)(SamplingParams&, double)) {
  auto& n = *numbers_.emplace_back(std::make_unique<Number>(Number{std::nullopt, 0, set}));
  n.flag = command.add(names, n.value, help).in_group("Sampling");
}

void SamplingFlags::add_to(const Flags& c) {
  using P = SamplingParams;
  add_number(c, "--temp,--temperature", "temperature; 0 = greedy", [](P& p, double v) { p.temperature = v; });
  add_number(c, "--top-k", "keep the k likeliest tokens; 0 = all", [](P& p, double v) { p.top_k = whole(v); });
  add_number(c, "--top-p", "keep the likeliest up to this probability; 1 = all", [](P& p, double v) { p.top_p = v; });
  add_number(c, "--min-p", "drop tokens below this share of the likeliest", [](P& p, double v) { p.min_p = v; });
  add_number(c, "--typical,--typical-p", "keep typical tokens up to this probability; 1 = all",
             [](P& p, double v) { p.typical_p = v; });
  add_number(c, "--top-nsigma,--top-n-sigma", "keep tokens within n standard deviations of the best",
             [](P& p, double v) { p.top_n_sigma = v; });
  add_number(c, "--xtc-probability", "chance of removing the top choices",
             [](P& p, double v) { p.xtc_probability = v; });
  add_number(c, "--xtc-threshold", "probability from which a token is a top choice",
             [](P& p, double v) { p.xtc_threshold = v; });
  add_number(c, "--repeat-last-n", "tokens looked back at by the penalties; -1 = all",
             [](P& p, double v) { p.repeat_last_n = whole(v); });
  add_number(c, "--repeat-penalty", "divide the logits of seen tokens; 1 = off",
             [](P& p, double v) { p.repeat_penalty = v; });
  add_number(c, "--frequency-penalty", "subtract per occurrence", [](P& p, double v) { p.frequency_penalty = v; });
  add_number(c, "--presence-penalty", "subtract once for seen tokens", [](P& p, double v) { p.presence_penalty = v; });
  add_number(c, "--dry-multiplier", "strength of the DRY penalty; 0 = off",
             [](P& p, double v) { p.dry_multiplier = v; });
  add_number(c, "--dry-base", "base of the DRY penalty", [](P& p, double v) { p.dry_base = v; });
  add_number(c, "--dry-allowed-length", "repetitions up to this length are free",
             [](P& p, double v) { p.dry_allowed_length = whole(v); });
  add_number(c, "--dry-penalty-last-n", "tokens DRY looks back at; -1 = all",
             [](P& p, double v) { p.dry_penalty_last_n = whole(v); });
  add_number(c, "--dynatemp-range", "temperature varies by this much with the entropy",
             [](P& p, double v) { p.dynatemp_range = v; });
  add_number(c, "--dynatemp-exp", "exponent of the dynamic temperature",
             [](P& p, double v) { p.dynatemp_exponent = v; });
  add_number(c, "--mirostat", "0 = off, 1 or 2", [](P& p, double v) { p.mirostat = whole(v); });
  add_number(c, "--mirostat-ent", "target surprise of mirostat, in bits", [](P& p, double v) { p.mirostat_tau = v; });
  add_number(c, "--mirostat-lr", "learning rate of mirostat", [](P& p, double v) { p.mirostat_eta = v; });
  add_number(c, "--min-keep", "truncating steps leave at least this many",
             [](P& p, double v) { p.min_keep = whole(v); });
  c.add("-l,--logit-bias", logit_bias_, "add to a token's logit: ID+1.5, ID-2, ID-inf (repeatable)")
      .in_group("Sampling");
  c.add("--dry-sequence-breaker", breakers_, "text that ends a repetition for DRY (repeatable; none = no breakers)")
      .in_group("Sampling");
  c.add("--samplers", order_, "order of the steps, separated by ;").in_group("Sampling");
  c.add("-s,--seed", seed_, "random seed; -1 = a new one, printed").in_group("Sampling");
}

SamplingParams SamplingFlags::resolve(const Checkpoint& checkpoint) const {
  std::string origin;
  SamplingParams p = default_sampling(checkpoint, &origin);
  if (!origin.empty()) remark("sampling defaults of the model:" + origin);
  for (const auto& n : numbers_)
    if (n->flag->given()) n->set(p, n->value);
  for (const std::string& b : logit_bias_) p.logit_bias.push_back(parse_bias(b));
  if (!breakers_.empty()) p.dry_sequence_breakers = breakers_;
  if (breakers_ == std::vector<std::string>{"none"}) p.dry_sequence_breakers.clear();
  if (!order_.empty()) p.order = split_order(order_);
  p.seed = seed_ >= 0 ? static_cast<uint64_t>(seed_) : std::random_device{}();
  check(p);
  if (p.temperature > 0 && seed_ < 0) remark(fmt::format("seed: {} (repeat with --seed {})", p.seed, p.seed));
  return p;
}

}  // namespace stretto::app
