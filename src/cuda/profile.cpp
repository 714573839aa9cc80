// A decode step taken apart by role. Events around single kernels would serialise what overlaps by design, and activity
// records of overlapping kernels count the wait for the predecessor as work. So each role is captured alone and left
// out once, and whole graphs are timed: nothing is measured inside a step.
#include <algorithm>
#include <chrono>
#include <deque>
#include <utility>

#include "cuda/executable.h"
#include "cuda/stopwatch.h"

namespace stretto::cuda {
namespace {

double median(std::vector<double> v) {
  std::nth_element(v.begin(), v.begin() + static_cast<int64_t>(v.size() / 2), v.end());
  return v[v.size() / 2];
}

std::vector<std::string> roles_of(const Program& program, bool with_tables) {
  std::vector<std::string> roles;
  if (with_tables) roles.emplace_back(kStepRole);
  for (const Node& node : program.nodes)
    if (std::find(roles.begin(), roles.end(), node.role) == roles.end()) roles.push_back(node.role);
  return roles;
}

constexpr const char* kChoiceRole = "arg_max";
constexpr const char* kGraphMethod =
    "each role captured alone as a graph (us), and a greedy step captured without it (saved us: the step less that); "
    "whole graphs timed by events around runs of them, in turn, medians; nothing is measured inside a step";
constexpr const char* kEagerMethod =
    "each role launched alone (us), and a greedy step without it (saved us: the step less that), kernel by kernel; "
    "events around runs of whole steps, in turn, medians";

}  // namespace

// A greedy step with some of it left out.
struct CudaExecutable::Variant {
  Choices choices;
  bool ops = true, choice = true;  // the program, the choice of the next token
  Graph graph;
  uint64_t n_launches = 0;
  std::vector<double> us;
};

std::optional<double> CudaExecutable::device_us_per_token(int32_t token, uint64_t position, int n_steps) {
  CHECK(n_steps > 1 && position + static_cast<uint64_t>(n_steps) <= options_.n_ctx);
  const Stopwatch watch;
  begin_decode(token, position);
  run_loop_step();  // not timed: the others begin behind it, without the host
  const uint64_t first = n_launched_, wanted = static_cast<uint64_t>(n_steps);
  if (first >= wanted) return std::nullopt;  // the persistent stream runs several tokens at once
  const double us = watch.us(stream_.get(), [&] {
    while (n_launched_ < wanted) run_loop_step();
  });
  return us / static_cast<double>(n_launched_ - first);
}

// By the host's clock, the first token left out: it waits for the start of the loop.
double CudaExecutable::host_us_per_token(int32_t token, uint64_t position, int n_steps) {
  start_loop(token, position, {});
  next_token();
  const auto start = std::chrono::steady_clock::now();
  for (int i = 1; i < n_steps; ++i) next_token();
  const std::chrono::duration<double, std::micro> wall = std::chrono::steady_clock::now() - start;
  return wall.count() / std::max(1, n_steps - 1);
}

void CudaExecutable::launch_variant(const Variant& v) {
  if (v.ops) launch_ops();
  const bool dependent = machine_.queue.dependent;
  machine_.queue.dependent = dependent && v.ops;  // the first kernel waits for everything before it
  if (v.choice) launch_choice();
  machine_.queue.dependent = dependent;
}

// Runs the variant n_steps times from one position on; its choices stay in force.
double CudaExecutable::time_variant(Variant& v, const ProfileOptions& options, int n_steps) {
  machine_.choices = v.choices;
  machine_.n_tokens = machine_.n_outputs = 1;
  machine_.values = token_values_.data();
  const auto once = [&] { how_.graph ? v.graph.replay(stream_.get()) : launch_variant(v); };
  machine_.queue.n_launches = 0;
  if (how_.graph && !v.graph) v.graph.capture(stream_.get(), [&] { launch_variant(v); });
  begin_decode(options.token, options.position);
  once();  // not timed, as in device_us_per_token
  if (machine_.queue.n_launches != 0) v.n_launches = machine_.queue.n_launches;
  const Stopwatch watch;
  const double us = watch.us(stream_.get(), [&] {
    for (int i = 1; i < n_steps; ++i) once();
  });
  return us / std::max(1, n_steps - 1);
}

std::optional<Profile> CudaExecutable::profile(const ProfileOptions& options) {
  CHECK(options.n_steps > 1 && options.n_rounds > 0);
  CHECK(options.position + static_cast<uint64_t>(options.n_steps) <= options_.n_ctx);
  choose_path(options.token, options.position);
  const Choices chosen = machine_.choices;
  std::vector<std::string> roles = roles_of(program_, !machine_.ropes.empty());
  std::deque<Variant> variants;  // each role alone, then the step without it
  for (const std::string& role : roles) {
    Variant& alone = variants.emplace_back();
    alone.choices = chosen;
    alone.choices.only_role = role;
    alone.choice = false;
    Variant& without = variants.emplace_back();
    without.choices = chosen;
    without.choices.without_role = role;
  }
  roles.emplace_back(kChoiceRole);
  for (const bool alone : {true, false}) {
    Variant& v = variants.emplace_back();
    v.choices = chosen;
    v.ops = !alone;
    v.choice = alone;
  }
  // What is taken apart are the kernels of the graph, so the whole token is theirs too.
  end_loop();
  const bool streams = std::exchange(streams_, false);
  std::vector<double> host_us, device_us;
  for (int round = -1; round < options.n_rounds; ++round) {  // the first one warms up
    for (Variant& v : variants) {
      const double us = time_variant(v, options, round < 0 ? 2 : options.n_steps);
      if (round >= 0) v.us.push_back(us);
    }
    machine_.choices = chosen;
    const double device = *device_us_per_token(options.token, options.position, options.n_steps);
    const double host = host_us_per_token(options.token, options.position, options.n_steps);
    if (round < 0) continue;
    device_us.push_back(device);
    host_us.push_back(host);
  }
  stop_decode();
  streams_ = streams;
  Profile p{.method = how_.graph ? kGraphMethod : kEagerMethod, .roles = {}};
  p.token_us = median(host_us);
  p.device_us = median(device_us);
  p.n_launches = n_decode_launches_ + 1;
  for (size_t i = 0; i < roles.size(); ++i) {
    const Variant& alone = variants[2 * i];
    const double without_us = median(variants[2 * i + 1].us);
    p.roles.push_back({roles[i], alone.n_launches, median(alone.us), p.device_us - without_us});
  }
  if (streams) p.stream = profile_stream(options);
  return p;
}

}  // namespace stretto::cuda
