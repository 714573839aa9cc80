// The decode step of a model on CUDA under other tunings, and role by role: what to change is measured here, what was
// chosen stands in the tune() functions.
//
//   cuda_decode MODEL.gguf DEPTH TOKENS [VARIANT...]
//
// A variant is a list of key=value with commas, over the defaults: w warps, b blocks per SM, s bytes of a stage, r
// bytes of the rings of an SM (each also as ROLE.key for the matrices of one role), ab attention blocks per SM, ac
// granules of an attention run, role only the ops of this role. All variants are measured in turn, several rounds; a
// line per variant: median microseconds per token.
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
};

Variant parse(const std::string& text) {
  Variant v{.text = text, .choices = {}, .us = {}};
  std::map<std::string, uint32_t*> numbers{{"ab", &v.choices.attention.blocks_per_sm},
                                           {"ac", &v.choices.attention.min_granules}};
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find(',', at), text.size()), equal = text.find('=', at);
    const std::string key = text.substr(at, equal - at), value = text.substr(equal + 1, end - equal - 1);
    const size_t dot = key.find('.');
    cuda::GemvChoice& gemv = dot == std::string::npos ? v.choices.gemv : v.choices.gemv_of_role[key.substr(0, dot)];
    const std::map<std::string, uint32_t*> tuning{
        {"w", &gemv.n_warps}, {"b", &gemv.blocks_per_sm}, {"s", &gemv.stage_bytes}, {"r", &gemv.ring_bytes}};
    const std::string name = dot == std::string::npos ? key : key.substr(dot + 1);
    if (tuning.contains(name)) *tuning.at(name) = static_cast<uint32_t>(std::stoul(value));
    if (key == "role") v.choices.only_role = value;
    if (numbers.contains(key)) *numbers[key] = static_cast<uint32_t>(std::stoul(value));
    at = end + 1;
  }
  return v;
}

double us_per_token(Executable& executable, uint64_t depth, int n_tokens) {
  executable.start_greedy(1, depth);
  executable.next_token();
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < n_tokens; ++i) executable.next_token();
  const std::chrono::duration<double, std::micro> time = std::chrono::steady_clock::now() - start;
  return time.count() / n_tokens;
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
  const auto backend = make_cuda_backend({});
  const auto begin = std::chrono::steady_clock::now();
  const auto executable = backend->compile(
      model.program, {.n_ctx = depth + static_cast<uint64_t>(n_tokens) + 8, .max_tokens = 8, .max_outputs = 1});
  const std::chrono::duration<double> load = std::chrono::steady_clock::now() - begin;
  auto& device = dynamic_cast<cuda::CudaExecutable&>(*executable);
  for (int round = 0; round < 4; ++round) {
    for (Variant& v : variants) {
      device.choose(v.choices);
      us_per_token(device, depth, 8);
      v.us.push_back(us_per_token(device, depth, n_tokens));
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
