// The share of the read sweep that one thread reaches in decode, on a machine that others use too.
//   cpu_decode MODEL.gguf [rounds [isa]]
// Each round reads 512 MiB and then runs four decode steps and one prefill step of 64 tokens, all timed in CPU time of
// the thread: what other processes take from it does not count, what they take from the memory hits both alike. Prints
// the median rates and the median over the rounds of decode rate / sweep rate.
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <vector>

#include "base/error.h"
#include "checkpoint/checkpoint.h"
#include "cpu/arena.h"
#include "cpu/cpu_backend.h"
#include "models/registry.h"
#include "program/plan.h"

namespace {

using namespace stretto;

constexpr uint64_t kSweepBytes = 512 << 20;
constexpr uint64_t kPrompt = 64, kSteps = 4;

double thread_seconds() {
  timespec t{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

template <class F>
double time_of(const F& f) {
  const double start = thread_seconds();
  f();
  return thread_seconds() - start;
}

double median(std::vector<double> v) {
  std::nth_element(v.begin(), v.begin() + static_cast<int64_t>(v.size() / 2), v.end());
  return v[v.size() / 2];
}

#if defined(__x86_64__)
__attribute__((target_clones("default", "avx2", "avx512f")))
#endif
uint64_t
sum_words(const std::byte* data, uint64_t bytes) {
  uint64_t sums[8] = {};
  for (uint64_t i = 0; i < bytes; i += sizeof sums) {
    uint64_t words[8];
    std::memcpy(words, data + i, sizeof words);
    for (int k = 0; k < 8; ++k) sums[k] += words[k];
  }
  return sums[0] + sums[1] + sums[2] + sums[3] + sums[4] + sums[5] + sums[6] + sums[7];
}

void measure(const char* path, int rounds, const char* isa) {
  const auto checkpoint = open_checkpoint(path);
  const Model model = load_model(*checkpoint);
  const auto backend = make_cpu_backend({.n_threads = 1, .isa = isa});
  const auto executable =
      backend->compile(model.program, {.n_ctx = 512, .max_tokens = kPrompt, .max_outputs = 1, .n_threads = 1});
  const StepShape shape{.n_tokens = 1, .n_outputs = 1, .position = kPrompt};
  const auto bytes = static_cast<double>(account(executable->program(), shape).total.bytes());
  const cpu::Arena arena(kSweepBytes, "the read sweep");
  std::memset(arena.data(), 1, kSweepBytes);
  std::vector<int32_t> prompt(kPrompt);
  for (uint64_t i = 0; i < kPrompt; ++i) prompt[i] = static_cast<int32_t>(i * 37 % 500);
  const std::vector<int32_t> token = {7}, first = {0}, last = {static_cast<int32_t>(kPrompt) - 1};
  std::vector<double> sweeps, decodes, prefills, shares;
  uint64_t kept = 0;
  for (int i = -1; i < rounds; ++i) {
    const double prefill = time_of([&] { executable->run({.tokens = prompt, .position = 0, .outputs = last}); });
    const double sweep = time_of([&] { kept += sum_words(arena.data(), kSweepBytes); });
    const double decode = time_of([&] {
      for (uint64_t k = 0; k < kSteps; ++k)
        executable->run({.tokens = token, .position = kPrompt + k, .outputs = first});
    });
    if (i < 0) continue;
    sweeps.push_back(static_cast<double>(kSweepBytes) / sweep / 1e9);
    decodes.push_back(static_cast<double>(kSteps) / decode);
    prefills.push_back(static_cast<double>(kPrompt) / prefill);
    shares.push_back(decodes.back() * bytes / 1e9 / sweeps.back());
  }
  fmt::print(
      "{}: sweep {:.1f} GB/s, decode {:.1f} tokens/s ({:.0f} % of the sweep, best {:.0f} %), prefill {:.0f} "
      "tokens/s ({:.1f} x decode){}\n",
      backend->description(), median(sweeps), median(decodes), 100 * median(shares),
      100 * *std::max_element(shares.begin(), shares.end()), median(prefills), median(prefills) / median(decodes),
      kept == 0 ? "!" : "");
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    fmt::print(stderr, "usage: cpu_decode MODEL.gguf [rounds [isa]]\n");
    return 2;
  }
  try {
    measure(argv[1], argc > 2 ? std::atoi(argv[2]) : 15, argc > 3 ? argv[3] : "");
  } catch (const Error& e) {
    fmt::print(stderr, "cpu_decode: {}\n", e.what());
    return e.exit_code();
  }
  return 0;
}
