// A decode step taken apart by role: the last thread to finish an op reads the clock before any goes on. (One that woke
// late from the wait would count an op's time for the op before.)
#include <algorithm>

#include "cpu/executable.h"

namespace stretto::cpu {
namespace {

using Clock = std::chrono::steady_clock;

double us_between(Clock::time_point from, Clock::time_point to) {
  return std::chrono::duration<double, std::micro>(to - from).count();
}

double median(std::vector<double> v) {
  std::nth_element(v.begin(), v.begin() + static_cast<int64_t>(v.size() / 2), v.end());
  return v[v.size() / 2];
}

}  // namespace

std::optional<Profile> CpuExecutable::profile(const ProfileOptions& options) {
  CHECK(options.n_steps > 0 && options.n_rounds > 0 && options.position < options_.n_ctx);
  const std::vector<Node>& nodes = program_.nodes;
  Profile p{
      .method = "the clock read after every op, where the threads meet; steps with and without that in turn, medians",
      .roles = {}};
  std::vector<size_t> role_of(nodes.size());
  p.roles.push_back({.role = "step_tables"});
  for (size_t i = 0; i < nodes.size(); ++i) {
    const auto found = std::ranges::find_if(p.roles, [&](const RoleTime& r) { return r.role == nodes[i].role; });
    role_of[i] = static_cast<size_t>(found - p.roles.begin());
    if (found == p.roles.end()) p.roles.push_back({.role = nodes[i].role});
  }
  std::vector<std::vector<double>> role_us(p.roles.size());
  std::vector<double> token_us;
  const int32_t output = 0;
  const Step step{.tokens = {&options.token, 1}, .position = options.position, .outputs = {&output, 1}};
  std::vector<Clock::time_point> stamps(nodes.size() + 1);
  run(step);
  for (int i = 0; i < options.n_rounds * options.n_steps; ++i) {
    const Clock::time_point start = Clock::now();
    run(step);
    token_us.push_back(us_between(start, Clock::now()));
    stamps_.swap(stamps);
    const Clock::time_point begin = Clock::now();
    run(step);
    stamps_.swap(stamps);
    std::vector<double> sums(p.roles.size());
    sums[0] = us_between(begin, stamps[0]);
    for (size_t n = 0; n < nodes.size(); ++n) sums[role_of[n]] += us_between(stamps[n], stamps[n + 1]);
    for (size_t r = 0; r < sums.size(); ++r) role_us[r].push_back(sums[r]);
  }
  for (size_t r = 0; r < role_us.size(); ++r) p.roles[r].us = median(role_us[r]);
  p.token_us = median(token_us);
  return p;
}

}  // namespace stretto::cpu
