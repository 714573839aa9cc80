// How close the CPU's matrix-vector products come to what its memory can deliver.
//   cpu_sweep [threads [isa]]
// Prints a read sweep of 1 GiB, then per weight encoding the rate of reading 4 x 64 MiB of weights by Linear on one
// token, quantisation of the activations and barriers included, and its share of the sweep; then the time per token of
// the same products on a step of 128 tokens.
#include <fmt/format.h>

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "base/error.h"
#include "base/threads.h"
#include "cpu/arena.h"
#include "cpu/cpu_backend.h"

namespace {

using namespace stretto;

constexpr uint64_t kMiB = 1 << 20;
constexpr uint64_t kIn = 4096;

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// The best of several runs, in seconds.
template <class F>
double best_time(int n_runs, const F& f) {
  double best = 1e9;
  for (int i = 0; i < n_runs; ++i) {
    const auto start = std::chrono::steady_clock::now();
    f();
    best = std::min(best, seconds_since(start));
  }
  return best;
}

// Four products of 64 MiB each, one after the other.
struct Products {
  static constexpr int kProducts = 4;
  cpu::Arena weights;
  std::vector<std::byte> table = std::vector<std::byte>(kIn * sizeof(float));
  Program program;
  uint64_t bytes = 0;

  explicit Products(DType type) : weights(kProducts * 64 * kMiB, "weights") {
    // 0x2c bytes make moderate scales in every encoding.
    std::memset(weights.data(), 0x2c, weights.bytes());
    for (uint64_t i = 0; i < kIn; ++i) {
      const float x = static_cast<float>(i % 17) - 8;
      std::memcpy(table.data() + i * sizeof x, &x, sizeof x);
    }
    const uint64_t n_out = 64 * kMiB / row_bytes(type, kIn);
    Recorder r("sweep");
    const ValueId x = r.value("x", kIn);
    const WeightSlice table_slice{{DType::kF32, {1, kIn}, table}, 0, 1, RowOrder::kAsStored, 0};
    r.emit("in", Embed{.table = r.weight({"table", DType::kF32, {1, kIn}}, {{table_slice}}), .out = x});
    ValueId y;
    for (uint64_t i = 0; i < kProducts; ++i) {
      y = r.value("y", n_out);
      const std::span<const std::byte> stored(weights.data() + i * 64 * kMiB, n_out * row_bytes(type, kIn));
      const WeightSlice slice{{type, {n_out, kIn}, stored}, 0, n_out, RowOrder::kAsStored, 0};
      r.emit("product", Linear{.x = x, .w = r.weight({"w", type, {n_out, kIn}}, {{slice}}), .bias = {}, .out = y});
      bytes += stored.size();
    }
    const ValueId out = r.value("out", n_out, Rows::kOutputs);
    r.emit("out", TakeOutputs{.x = y, .out = out});
    program = r.finish(out);
  }
  double step_seconds(const Backend& backend, uint64_t n_tokens, int n_runs) const {
    const auto executable =
        backend.compile(program, {.n_ctx = n_tokens, .max_tokens = n_tokens, .max_outputs = 1, .n_threads = 0});
    const std::vector<int32_t> tokens(n_tokens), outputs = {0};
    return best_time(n_runs, [&] { executable->run({.tokens = tokens, .position = 0, .outputs = outputs}); });
  }
};

void sweep(int n_threads, const std::string& isa) {
  const auto backend = make_cpu_backend({.n_threads = n_threads, .isa = isa});
  fmt::print("{}\n", backend->description());
  const double one = make_cpu_backend({.n_threads = 1, .isa = isa})->read_bandwidth_gbps();
  const double all = n_threads == 1 ? one : backend->read_bandwidth_gbps();
  fmt::print("read sweep of 1 GiB: 1 thread {:.1f} GB/s, {} threads {:.1f} GB/s\n", one, n_threads, all);
  fmt::print("{:8} {:>10} {:>10} {:>22} {:>14}\n", "weights", "GB/s", "of sweep", "us/token (256 MiB)",
             "GMAC/s at 128");
  for (const DType type : {DType::kF32, DType::kF16, DType::kBF16, DType::kQ8_0, DType::kQ6_K, DType::kQ5_K,
                           DType::kQ5_1, DType::kQ5_0, DType::kQ4_K, DType::kQ4_1, DType::kQ4_0, DType::kIQ4_NL,
                           DType::kIQ4_XS, DType::kMXFP4, DType::kQ3_K, DType::kQ2_K}) {
    const Products products(type);
    const double decode = products.step_seconds(*backend, 1, 20), chunk = products.step_seconds(*backend, 128, 2);
    const double macs = static_cast<double>(products.bytes) / static_cast<double>(row_bytes(type, kIn)) * kIn;
    const double rate = static_cast<double>(products.bytes) / decode / 1e9;
    fmt::print("{:8} {:10.1f} {:9.0f}% {:22.0f} {:14.1f}\n", name(type), rate, 100 * rate / all, decode * 1e6,
               128 * macs / chunk / 1e9);
  }
}

}  // namespace

int main(int argc, char** argv) {
  try {
    sweep(argc > 1 ? std::atoi(argv[1]) : default_thread_count(), argc > 2 ? argv[2] : "");
  } catch (const Error& e) {
    fmt::print(stderr, "cpu_sweep: {}\n", e.what());
    return e.exit_code();
  }
  return 0;
}
