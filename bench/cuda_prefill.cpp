// A prefill step of a model on CUDA, whole and without the ops of one role at a time: where its time goes.
//
//   cuda_prefill MODEL.gguf TOKENS DEPTH [ROUNDS]
//
// A line for the step (median of the rounds, tokens per second), then one per role: what the step gains without it.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <set>

#include "cuda/cuda_backend.h"
#include "cuda/executable.h"
#include "models/registry.h"

namespace {

using namespace stretto;

double median_ms(Executable& executable, const Step& step, int rounds) {
  std::vector<double> ms;
  executable.run(step);
  for (int i = 0; i < rounds; ++i) {
    const auto start = std::chrono::steady_clock::now();
    executable.run(step);
    ms.push_back(std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count());
  }
  std::nth_element(ms.begin(), ms.begin() + rounds / 2, ms.end());
  return ms[static_cast<size_t>(rounds / 2)];
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 4) return fmt::print("usage: cuda_prefill MODEL TOKENS DEPTH [ROUNDS]\n"), 1;
  const uint64_t n = std::stoull(argv[2]), depth = std::stoull(argv[3]);
  const int rounds = argc > 4 ? std::stoi(argv[4]) : 5;
  const auto checkpoint = open_checkpoint(argv[1]);
  const Model model = load_model(*checkpoint, {.kv_type = DType::kF16});
  const auto backend = make_cuda_backend({});
  const auto executable = backend->compile(model.program, {.n_ctx = depth + n + 8, .max_tokens = n, .max_outputs = 1});
  auto& device = dynamic_cast<cuda::CudaExecutable&>(*executable);
  std::vector<int32_t> tokens(n);
  for (size_t i = 0; i < n; ++i) tokens[i] = static_cast<int32_t>(i * 7919 % 1000);
  const int32_t output = static_cast<int32_t>(n) - 1;
  const Step step{.tokens = tokens, .position = depth, .outputs = {&output, 1}};
  const double whole = median_ms(*executable, step, rounds);
  fmt::print("{}: {} tokens at depth {}: {:.2f} ms, {:.0f} tok/s\n", argv[1], n, depth, whole,
             1e3 * static_cast<double>(n) / whole);
  std::set<std::string> roles;
  for (const Node& node : device.program().nodes) roles.insert(node.role);
  for (const std::string& role : roles) {
    cuda::Choices choices;
    choices.without_role = role;
    device.choose(choices);
    fmt::print("  {:<20} {:8.2f} ms\n", role, whole - median_ms(*executable, step, rounds));
  }
  return 0;
}
