#include "engine/bench.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <random>

namespace stretto {
namespace {

double mean(const std::vector<double>& v) {
  double sum = 0;
  for (const double x : v) sum += x;
  return v.empty() ? 0 : sum / static_cast<double>(v.size());
}

double stddev(const std::vector<double>& v) {
  if (v.size() < 2) return 0;
  const double m = mean(v);
  double square = 0;
  for (const double x : v) square += (x - m) * (x - m);
  return std::sqrt(square / static_cast<double>(v.size() - 1));
}

double median(std::vector<double> v) {
  if (v.empty()) return 0;
  std::sort(v.begin(), v.end());
  return v.size() % 2 == 1 ? v[v.size() / 2] : (v[v.size() / 2 - 1] + v[v.size() / 2]) / 2;
}

std::vector<double> as_doubles(const std::vector<uint64_t>& v) { return {v.begin(), v.end()}; }

std::vector<int32_t> random_tokens(std::mt19937_64& random, uint64_t n, uint64_t vocab) {
  std::vector<int32_t> out(n);
  for (int32_t& id : out) id = static_cast<int32_t>(random() % vocab);
  return out;
}

using Clock = std::chrono::steady_clock;

uint64_t ns_between(Clock::time_point from, Clock::time_point to) {
  return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(to - from).count());
}

// When each token was done. Room for all of them is made before anything is timed.
class TokenClock {
 public:
  explicit TokenClock(size_t n_tokens) { times_.reserve(n_tokens); }
  void tick() { times_.push_back(Clock::now()); }
  void gaps_to(std::vector<uint64_t>& out) const {
    for (size_t i = 1; i < times_.size(); ++i) out.push_back(ns_between(times_[i - 1], times_[i]));
  }

 private:
  std::vector<Clock::time_point> times_;
};

// Appends random tokens one by one; where the backend decodes greedily by itself, its own tokens after the first, which
// `chosen` gets.
void generate_tokens(Session& session, const std::vector<int32_t>& ids, TokenClock& clock,
                     std::vector<int32_t>& chosen) {
  if (ids.empty()) return;
  if (!session.start_decode(ids.front(), {})) {
    for (const int32_t& id : ids) {
      session.append(std::span(&id, 1));
      clock.tick();
    }
    return;
  }
  for (size_t i = 0; i < ids.size(); ++i) {
    const int32_t id = session.next_token();
    clock.tick();
    chosen.push_back(id);
    if (i + 1 < ids.size()) session.append_chosen(id);  // the last step ends with its token
  }
}

}  // namespace

std::string BenchTest::name() const {
  std::string out;
  if (n_prompt > 0) out += fmt::format("pp{}", n_prompt);
  if (n_prompt > 0 && n_gen > 0) out += "+";
  if (n_gen > 0) out += fmt::format("tg{}", n_gen);
  if (n_depth > 0) out += fmt::format(" @ d{}", n_depth);
  return out;
}

double BenchSamples::average_ns() const { return mean(as_doubles(ns)); }
double BenchSamples::stddev_ns() const { return stddev(as_doubles(ns)); }
std::vector<double> BenchSamples::tokens_per_second() const {
  std::vector<double> out;
  for (const uint64_t t : ns)
    out.push_back(1e9 * static_cast<double>(test.n_prompt + test.n_gen) /
                  static_cast<double>(std::max<uint64_t>(t, 1)));
  return out;
}
double BenchSamples::average_ts() const { return mean(tokens_per_second()); }
double BenchSamples::stddev_ts() const { return stddev(tokens_per_second()); }
double BenchSamples::median_ts() const { return median(tokens_per_second()); }
double BenchSamples::median_sweep_gbps() const { return median(sweep_gbps); }
double BenchSamples::sweep_share(uint64_t bytes_per_token) const {
  std::vector<double> shares = tokens_per_second();
  if (sweep_gbps.size() != shares.size()) return 0;
  for (size_t i = 0; i < shares.size(); ++i) shares[i] *= static_cast<double>(bytes_per_token) / (sweep_gbps[i] * 1e9);
  return median(shares);
}

std::optional<double> BenchSamples::p99_gap_ms() const {
  if (token_gaps_ns.empty()) return std::nullopt;
  std::vector<uint64_t> sorted = token_gaps_ns;
  std::sort(sorted.begin(), sorted.end());
  return static_cast<double>(sorted[(sorted.size() - 1) * 99 / 100]) / 1e6;
}

std::optional<double> BenchSamples::first_token_ms() const {
  if (first_token_ns.empty()) return std::nullopt;
  return median(as_doubles(first_token_ns)) / 1e6;
}

namespace {

// One repetition: what is timed, and nothing else.
uint64_t run_once(Session& session, const std::vector<int32_t>& prompt, const std::vector<int32_t>& generated,
                  const BenchOptions& options, bool counts, BenchSamples& out) {
  TokenClock clock(generated.size());
  std::vector<int32_t> chosen;
  chosen.reserve(generated.size());
  if (options.watch != nullptr && counts) options.watch->resume();
  const Clock::time_point start = Clock::now();
  if (!prompt.empty()) session.append(prompt, options.chunk);
  const Clock::time_point prompt_end = Clock::now();
  generate_tokens(session, generated, clock, chosen);
  const Clock::time_point end = Clock::now();
  if (options.watch != nullptr && counts) options.watch->pause();
  session.stop_decode();  // steps ahead of the last token would run into what is measured next
  if (!counts) return 0;
  clock.gaps_to(out.token_gaps_ns);
  if (!prompt.empty()) out.first_token_ns.push_back(ns_between(start, prompt_end));
  if (out.ns.empty()) out.greedy_tokens = std::move(chosen);
  return ns_between(start, end);
}

}  // namespace

BenchSamples run_bench(Session& session, const BenchTest& test, const BenchOptions& options) {
  std::mt19937_64 random(options.seed);
  session.rewind(0);
  if (test.n_depth > 0) session.append(random_tokens(random, test.n_depth, session.vocab_size()), options.chunk);
  BenchSamples out{.test = test};
  double before = 0;
  for (int i = options.warmup ? -1 : 0; i < options.repetitions; ++i) {
    if (options.proceed && !options.proceed(test, i)) break;
    session.rewind(test.n_depth);
    const std::vector<int32_t> prompt = random_tokens(random, test.n_prompt, session.vocab_size());
    const std::vector<int32_t> generated = random_tokens(random, test.n_gen, session.vocab_size());
    if (options.sweep != nullptr) before = options.sweep->pass_gbps();
    const uint64_t ns = run_once(session, prompt, generated, options, i >= 0, out);
    if (i < 0) continue;
    out.ns.push_back(ns);
    if (options.sweep != nullptr) out.sweep_gbps.push_back((before + options.sweep->pass_gbps()) / 2);
  }
  if (options.watch != nullptr) out.device = options.watch->take();
  return out;
}

}  // namespace stretto
