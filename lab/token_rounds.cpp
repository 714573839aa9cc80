// One side of a comparison of two builds of the CPU backend (lab/in_turn.py): for every line on stdin 12 tokens at
// depth 60 between two passes of the read sweep; prints tokens/s and the share of the sweep in per cent.
//
//   token_rounds MODEL BYTES_PER_TOKEN     (the bytes: `stretto profile MODEL -d 64`)
//
// A measurement that was decided on (docs/performance.md, "Four lines to an address"); not part of the build. By hand
// beside a release build, whose src/cpu is the version to be measured:
//   g++ -O2 -std=c++20 -Isrc lab/token_rounds.cpp -o rounds_NEW -Wl,--start-group build/release/src/*/lib*.a
//     -Wl,--end-group -lpcre2-8 -lhwy -lfmt -lcrypto -lutf8proc -lpthread
#include <chrono>
#include <cstdio>
#include <cstdlib>

#include "checkpoint/checkpoint.h"
#include "cpu/cpu_backend.h"
#include "engine/engine.h"
#include "engine/session.h"

using namespace stretto;

int main(int argc, char** argv) {
  if (argc != 3) return std::fprintf(stderr, "usage: token_rounds MODEL BYTES_PER_TOKEN\n"), 1;
  constexpr int kDepth = 60, kTokens = 12, kThreads = 2;
  const auto checkpoint = open_checkpoint(argv[1]);
  const double bytes = std::atof(argv[2]);
  const auto backend = make_cpu_backend({.n_threads = kThreads});
  EngineOptions options;
  options.n_ctx = 96;
  options.n_threads = kThreads;
  options.kv_type = DType::kF16;
  const EngineLog log{[](const std::string&) {}, [](std::string_view, uint64_t, uint64_t) {}};
  Engine engine(*checkpoint, *backend, options, log);
  Session session = engine.make_session();
  std::vector<int32_t> ids;
  for (int i = 0; i < kDepth + kTokens; ++i) ids.push_back((i * 7919 + 13) % 100000);
  session.append(std::span(ids).first(kDepth), 32);
  const auto sweep = backend->make_read_sweep();
  char line[64];
  while (std::fgets(line, sizeof line, stdin) != nullptr) {
    const double before = sweep->pass_gbps();
    session.rewind(kDepth);
    const auto begin = std::chrono::steady_clock::now();
    for (int i = 0; i < kTokens; ++i) session.append(std::span(&ids[static_cast<size_t>(kDepth + i)], 1));
    const double rate = kTokens / std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    std::printf("%.3f %.3f\n", rate, 100 * rate * bytes / ((before + sweep->pass_gbps()) / 2 * 1e9));
    std::fflush(stdout);
  }
}
