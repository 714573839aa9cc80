// The decode step of a model on CUDA under other tunings, and role by role: what to change is measured here, what was
// chosen stands in the tune() functions.
//
//   cuda_decode MODEL.gguf DEPTH TOKENS [VARIANT...]
//
// A variant is a list of key=value with commas, over the defaults: w warps, b blocks per SM, s bytes of a stage, r
// bytes of the rings of an SM, l bytes of shared memory of a block at least, t when its dependents are triggered (1
// input there, 2 entry, 3 weights asked for), n bytes per SM of the next matrix (formats with 32 columns a lane), 1
// none (each also as ROLE.key for the matrices of one role), ab attention blocks per SM, ac granules of an attention
// run, as stages of a ring of attention, ae of them before the wait, at as t, of experts xw warps, xs bytes of a stage,
// xr and xd bytes of the rings of gate_up and of the sum, xt of the sum as t, xp cycles before the sum's copies, role
// only the ops of this role; path graph or stream, and of the stream ss bytes of a stage, sr and sw bytes of an SM in
// its ring and of those under way, clusters 0 for none, sp cycles per 1024 bytes of weights of those, sb bytes of a
// copy, clocks 1 (2: by multiprocessor) for where its time goes; sample 1 chooses tokens by the steps of a usual chat
// instead of the largest logit, 2 by top-k 1. All variants are measured in turn, several rounds; a line per variant:
// median microseconds per token.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <map>

#include "cuda/cuda_backend.h"
#include "cuda/executable.h"
#include "models/registry.h"
#include "program/plan.h"

namespace {

using namespace stretto;

struct Variant {
  std::string text;
  cuda::Choices choices;
  std::vector<double> us;
  bool stream = false;
  uint32_t clocks = 0;
  uint32_t sample = 0;
};

// 1: the steps of a usual chat, 2: nothing but the largest logit, through the same kernel.
TokenChoice choice_of(uint32_t sample) {
  static const std::mt19937_64 random(7);
  TokenChoice choice{.random = sample == 0 ? nullptr : &random};
  if (sample == 1)
    choice.steps = {{{ChoiceStep::kTopK, 40},
                     {ChoiceStep::kTopP, 0.95},
                     {ChoiceStep::kMinP, -3.0},
                     {ChoiceStep::kTemperature, 0.7}}};
  if (sample == 2) choice.steps = {{{ChoiceStep::kTopK, 1}}};
  choice.n_steps = sample == 1 ? 4 : sample == 2 ? 1 : 0;
  return choice;
}

Variant parse(const std::string& text) {
  Variant v{.text = text, .choices = {}, .us = {}};
  std::map<std::string, uint32_t*> numbers{{"ab", &v.choices.attention.blocks_per_sm},
                                           {"ac", &v.choices.attention.min_granules},
                                           {"as", &v.choices.attention.n_stages},
                                           {"ae", &v.choices.attention.n_early_stages},
                                           {"at", &v.choices.attention.trigger},
                                           {"xw", &v.choices.experts.n_warps},
                                           {"xs", &v.choices.experts.stage_bytes},
                                           {"xt", &v.choices.experts.trigger},
                                           {"xp", &v.choices.experts.pause_cycles},
                                           {"xr", &v.choices.experts.ring_bytes},
                                           {"xd", &v.choices.experts.sum_ring_bytes},
                                           {"ss", &v.choices.stream.stage_bytes},
                                           {"sr", &v.choices.stream.ring_bytes},
                                           {"sw", &v.choices.stream.window_bytes},
                                           {"sp", &v.choices.stream.pace},
                                           {"sb", &v.choices.stream.piece_bytes},
                                           {"clocks", &v.clocks},
                                           {"sample", &v.sample}};
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find(',', at), text.size()), equal = text.find('=', at);
    const std::string key = text.substr(at, equal - at), value = text.substr(equal + 1, end - equal - 1);
    const size_t dot = key.find('.');
    cuda::GemvChoice& gemv = dot == std::string::npos ? v.choices.gemv : v.choices.gemv_of_role[key.substr(0, dot)];
    const std::map<std::string, uint32_t*> tuning{
        {"w", &gemv.n_warps},     {"b", &gemv.blocks_per_sm}, {"s", &gemv.stage_bytes}, {"r", &gemv.ring_bytes},
        {"l", &gemv.least_bytes}, {"n", &gemv.ahead_bytes},   {"t", &gemv.trigger}};
    const std::string name = dot == std::string::npos ? key : key.substr(dot + 1);
    if (tuning.contains(name)) *tuning.at(name) = static_cast<uint32_t>(std::stoul(value));
    if (key == "path") v.stream = value == "stream";
    if (key == "clusters") v.choices.stream.clusters = value != "0";
    if (key == "role") v.choices.only_role = value;
    if (numbers.contains(key)) *numbers[key] = static_cast<uint32_t>(std::stoul(value));
    at = end + 1;
  }
  return v;
}

double us_per_token(Executable& executable, const TokenChoice& choice, uint64_t depth, int n_tokens) {
  executable.start_decode(1, depth, choice);
  executable.next_token();
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < n_tokens; ++i) executable.next_token();
  const std::chrono::duration<double, std::micro> time = std::chrono::steady_clock::now() - start;
  return time.count() / n_tokens;
}

// Means over the multiprocessors of what one token spent, by role; of the input and the wait also the least.
void print_clocks(cuda::CudaExecutable& device, bool by_sm) {
  struct Sum {
    double wait = 0, least_wait = 0, input = 0, work = 0, most_work = 0, rest = 0, ring = 0;
    int n = 0;
  };
  std::map<std::string, Sum> roles;
  std::map<std::string, std::map<uint32_t, double>> work;  // by role and multiprocessor
  const auto times = device.stream_runner()->times();
  const size_t n_sm = times.size() / device.stream_runner()->n_phases();
  for (size_t i = 0; i < times.size(); i += n_sm) {
    Sum& s = roles[device.program().nodes[times[i].op].role];
    double least = 1e30, most = 0;
    for (size_t b = i; b < i + n_sm; ++b) {
      s.wait += times[b].wait_ns / 1e3 / static_cast<double>(n_sm);
      s.input += times[b].input_ns / 1e3 / static_cast<double>(n_sm);
      s.work += times[b].work_ns / 1e3 / static_cast<double>(n_sm);
      s.rest += times[b].rest_ns / 1e3 / static_cast<double>(n_sm);
      s.ring += times[b].ring_share / static_cast<double>(n_sm);
      least = std::min(least, times[b].wait_ns / 1e3);
      most = std::max(most, times[b].work_ns / 1e3);
      work[device.program().nodes[times[i].op].role][times[b].sm] += times[b].work_ns / 1e3;
    }
    s.least_wait += least;
    s.most_work += most;
    ++s.n;
  }
  for (const auto& [role, s] : roles)
    fmt::print(
        "    {:<14} x{:<3} wait {:6.2f} (least {:6.2f}) input {:6.2f} work {:6.2f} (most {:6.2f}) rest {:6.2f} us "
        "each, ring {:3.0f} %\n",
        role, s.n, s.wait / s.n, s.least_wait / s.n, s.input / s.n, s.work / s.n, s.most_work / s.n, s.rest / s.n,
        100 * s.ring / s.n);
  if (!by_sm) return;
  for (const auto& [role, sums] : work) {
    fmt::print("    {} by multiprocessor:", role);
    for (const auto& [sm, us] : sums) fmt::print(" {:.1f}", us / roles[role].n);
    fmt::print("\n");
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 4) return fmt::print("usage: cuda_decode MODEL DEPTH TOKENS [VARIANT...]\n"), 1;
  const uint64_t depth = std::stoull(argv[2]);
  const int n_tokens = std::stoi(argv[3]);
  std::vector<Variant> variants = {parse("")};
  for (int i = 4; i < argc; ++i) variants.push_back(parse(argv[i]));
  const auto checkpoint = open_checkpoint(argv[1]);
  const Model model = load_model(*checkpoint, {.kv_type = DType::kF16});
  const bool stream = std::any_of(variants.begin(), variants.end(), [](const Variant& v) { return v.stream; });
  const auto backend = make_cuda_backend({.decode = stream ? DecodePath::kStream : DecodePath::kGraph});
  const auto begin = std::chrono::steady_clock::now();
  const auto executable = backend->compile(
      model.program, {.n_ctx = depth + static_cast<uint64_t>(n_tokens) + 24, .max_tokens = 8, .max_outputs = 1});
  const std::chrono::duration<double> load = std::chrono::steady_clock::now() - begin;
  auto& device = dynamic_cast<cuda::CudaExecutable&>(*executable);
  for (int round = 0; round < 4; ++round) {
    for (Variant& v : variants) {
      if (stream) device.use_stream(v.stream);
      device.choose(v.choices);
      if (stream) device.stream_runner()->measure(v.clocks != 0);
      const TokenChoice choice = choice_of(v.sample);
      us_per_token(device, choice, depth, 8);
      v.us.push_back(us_per_token(device, choice, depth, n_tokens));
      if (v.clocks != 0 && round == 0) print_clocks(device, v.clocks > 1);
    }
  }
  const Accounting a = account(device.program(), {.n_tokens = 1, .n_outputs = 1, .position = depth});
  const double bytes = static_cast<double>(a.total.weight_bytes + a.total.state_bytes);
  fmt::print("{}: depth {}, {} launches, {:.3f} GB per token, loaded in {:.2f} s ({:.1f} GB/s)\n", argv[1], depth,
             device.launches_per_token(), bytes / 1e9, load.count(),
             static_cast<double>(checkpoint->tensor_bytes()) / 1e9 / load.count());
  for (Variant& v : variants) {
    std::nth_element(v.us.begin(), v.us.begin() + static_cast<int64_t>(v.us.size() / 2), v.us.end());
    const double us = v.us[v.us.size() / 2];
    double moved = bytes;
    if (!v.choices.only_role.empty()) {
      moved = 0;
      for (size_t i = 0; i < a.per_node.size(); ++i)
        if (device.program().nodes[i].role == v.choices.only_role)
          moved += static_cast<double>(a.per_node[i].weight_bytes + a.per_node[i].state_bytes);
    }
    fmt::print("  {:<40} {:9.1f} us {:8.1f} tok/s {:7.1f} GB/s\n", v.text.empty() ? "(as tuned)" : v.text, us, 1e6 / us,
               moved / 1e3 / us);
  }
  return 0;
}
