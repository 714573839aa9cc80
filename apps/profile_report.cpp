#include "profile_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "program/print.h"

namespace stretto::app {
namespace {

// A role's line: measured time beside the accounting of its ops.
struct RoleLine {
  const RoleTime* time = nullptr;
  uint64_t n_ops = 0, bytes = 0, flops = 0;
  std::set<int> phases;

  double gbps() const { return time->us > 0 ? static_cast<double>(bytes) / time->us / 1e3 : 0; }
};

std::vector<RoleLine> role_lines(const ProfileReport& r) {
  std::vector<RoleLine> lines;
  for (const RoleTime& time : r.profile.roles) {
    RoleLine& line = lines.emplace_back();
    line.time = &time;
    for (size_t i = 0; i < r.program->nodes.size(); ++i) {
      if (r.program->nodes[i].role != time.role) continue;
      const Cost& cost = r.token.per_node[i];
      ++line.n_ops;
      line.bytes += cost.weight_bytes + cost.state_bytes;
      line.flops += cost.flops;
      line.phases.insert(r.token.phase[i]);
    }
  }
  return lines;
}

double share(uint64_t part, uint64_t all) {
  return all == 0 ? 0 : static_cast<double>(part) / static_cast<double>(all);
}

std::string role_text(const ProfileReport& r, const RoleLine& l) {
  const bool streams = l.bytes > 0 && l.time->us > 0;
  return fmt::format("{:<14} {:>8} {:>9.1f} {:>9} {:>12} {:>8} {:>8} {:>7} {:>7}\n", l.time->role,
                     l.time->n_launches != 0 ? l.time->n_launches : l.n_ops, l.time->us,
                     l.time->saved_us ? fmt::format("{:.1f}", *l.time->saved_us) : "", human_bytes(l.bytes),
                     streams ? fmt::format("{:.1f}", l.gbps()) : "",
                     streams ? fmt::format("{:.1f} %", 100 * l.gbps() / r.roofline_gbps) : "",
                     fmt::format("{:.1f} %", 100 * share(l.flops, r.token.total.flops)), l.phases.size());
}

// The phases of one role together.
struct StreamLine {
  std::string role;
  uint64_t n = 0, bytes = 0;
  double between = 0, wait = 0, work = 0, most_work = 0, rest = 0, ring = 0, busy = 0, idle = 0;
};

std::vector<StreamLine> stream_lines(const StreamProfile& stream) {
  std::vector<StreamLine> lines;
  for (const PhaseTime& p : stream.phases) {
    auto line = std::ranges::find(lines, p.role, &StreamLine::role);
    if (line == lines.end()) {
      lines.push_back({.role = p.role});
      line = lines.end() - 1;
    }
    ++line->n;
    line->bytes += p.bytes;
    line->between += p.between_us;
    line->wait += p.wait_us;
    line->work += p.work_us;
    line->most_work += p.most_work_us;
    line->rest += p.rest_us;
    line->ring += p.ring_share.value_or(-1);
    line->busy += p.n_busy;
    line->idle += p.n_idle;
  }
  return lines;
}

std::string stream_text(const StreamProfile& stream) {
  std::string out = fmt::format(
      "\nthe persistent stream: a token takes {:.1f} us. Its phases by clocks inside the kernel, us each, means over "
      "the\n"
      "multiprocessors with work: since the phase before, wait for the input, work (and of the slowest), results\n",
      stream.token_us);
  out += fmt::format("{:<14} {:>6} {:>8} {:>7} {:>7} {:>8} {:>8} {:>11} {:>7} {:>6} {:>6}\n", "role", "phases",
                     "between", "wait", "work", "slowest", "results", "bytes", "ring", "busy", "idle");
  for (const StreamLine& l : stream_lines(stream)) {
    const auto n = static_cast<double>(l.n);
    const auto each = [&](double sum) { return fmt::format("{:.2f}", sum / n); };
    out +=
        fmt::format("{:<14} {:>6} {:>8} {:>7} {:>7} {:>8} {:>8} {:>11} {:>7} {:>6.0f} {:>6.0f}\n", l.role, l.n,
                    each(l.between), each(l.wait), each(l.work), each(l.most_work), each(l.rest), human_bytes(l.bytes),
                    l.ring >= 0 ? fmt::format("{:.0f} %", 100 * l.ring / n) : "", l.busy / n, l.idle / n);
  }
  return out + "ring: how much of it was full of weights when the work began; busy, idle: multiprocessors\n";
}

Json stream_json(const StreamProfile& stream) {
  Json phases = Json::array();
  for (const PhaseTime& p : stream.phases)
    phases.push_back({{"role", p.role},
                      {"layer", p.layer >= 0 ? Json(p.layer) : Json()},
                      {"bytes", p.bytes},
                      {"n_busy", p.n_busy},
                      {"n_idle", p.n_idle},
                      {"between_us", p.between_us},
                      {"wait_us", p.wait_us},
                      {"work_us", p.work_us},
                      {"most_work_us", p.most_work_us},
                      {"rest_us", p.rest_us},
                      {"ring_share", p.ring_share ? Json(*p.ring_share) : Json()}});
  return {{"token_us", stream.token_us}, {"phases", std::move(phases)}};
}

}  // namespace

double ProfileReport::floor_us() const {
  return roofline_gbps > 0 ? static_cast<double>(floor_bytes()) / roofline_gbps / 1e3 : 0;
}

double ProfileReport::us_per_phase() const {
  return token.n_phases > 0 ? (profile.token_us - floor_us()) / token.n_phases : 0;
}

double ProfileReport::sum_of_roles_us() const {
  double sum = 0;
  for (const RoleTime& r : profile.roles) sum += r.us;
  return sum;
}

std::string profile_text(const ProfileReport& r) {
  const Profile& p = r.profile;
  std::string out =
      fmt::format("one token of {} on {} at depth {}\nmethod: {}\n\n", r.model_path, r.backend, r.depth, p.method);
  out += fmt::format("{:<14} {:>8} {:>9} {:>9} {:>12} {:>8} {:>8} {:>7} {:>7}\n", "role",
                     p.n_launches != 0 ? "launches" : "ops", "us", "saved us", "bytes", "GB/s", "of peak", "FLOP",
                     "phases");
  for (const RoleLine& line : role_lines(r)) out += role_text(r, line);
  const uint64_t pieces = p.n_launches != 0 ? p.n_launches : r.token.launches;
  out += fmt::format("{:<14} {:>8} {:>9.1f}\n", "sum", pieces, r.sum_of_roles_us());
  out +=
      fmt::format("{:<14} {:>8} {:>9.1f} {:>9} {:>12} {:>8.1f} {:>6.1f} % {:>7} {:>7}\n\n", "token (wall)", pieces,
                  p.token_us, "", human_bytes(r.floor_bytes()), static_cast<double>(r.floor_bytes()) / p.token_us / 1e3,
                  100 * r.floor_us() / p.token_us, "", r.token.n_phases);
  if (p.device_us > 0)
    out += fmt::format("by the device's clock {:.1f} us; waiting for the host: {:.1f} us of a token\n", p.device_us,
                       std::max(0.0, p.token_us - p.device_us));
  out += fmt::format(
      "read sweep in this run: {:.1f} GB/s; floor {:.1f} us; T = bytes/peak + phases * t gives t = {:.2f} us\n",
      r.roofline_gbps, r.floor_us(), r.us_per_phase());
  if (r.us_per_phase() < 0)
    out += "t is below zero: the weights lie in a cache that is faster than what the sweep reads\n";
  if (p.stream) out += stream_text(*p.stream);
  out += fmt::format("\n{:<44} {:>8} {:>8}\n", "a token as", "launches", "phases");
  for (const TokenCut& c : r.cuts)
    out += fmt::format("{:<44} {:>8} {:>8}\n", c.name, c.ops, c.phases != 0 ? std::to_string(c.phases) : "");
  return out;
}

Json profile_json(const ProfileReport& r) {
  const Profile& p = r.profile;
  Json roles = Json::array();
  for (const RoleLine& l : role_lines(r)) {
    roles.push_back({{"role", l.time->role},
                     {"ops", l.n_ops},
                     {"launches", l.time->n_launches},
                     {"us", l.time->us},
                     {"saved_us", l.time->saved_us ? Json(*l.time->saved_us) : Json()},
                     {"bytes", l.bytes},
                     {"gbps", l.gbps()},
                     {"roofline_share", r.roofline_gbps > 0 ? l.gbps() / r.roofline_gbps : 0},
                     {"flops", l.flops},
                     {"flop_share", share(l.flops, r.token.total.flops)},
                     {"phases", l.phases.size()}});
  }
  Json cuts = Json::object();
  for (const TokenCut& c : r.cuts) cuts[c.key] = {{"launches", c.ops}, {"phases", c.phases}};
  return {{"model_filename", r.model_path},
          {"backends", r.backend},
          {"device", r.device},
          {"n_depth", r.depth},
          {"method", p.method},
          {"token_us", p.token_us},
          {"device_us", p.device_us > 0 ? Json(p.device_us) : Json()},
          {"sum_of_roles_us", r.sum_of_roles_us()},
          {"bytes_per_token", r.floor_bytes()},
          {"flops_per_token", r.token.total.flops},
          {"roofline_gbps", r.roofline_gbps},
          {"floor_us", r.floor_us()},
          {"roofline_share", p.token_us > 0 ? r.floor_us() / p.token_us : 0},
          {"phases_per_token", r.token.n_phases},
          {"us_per_phase", r.us_per_phase()},
          {"launches", std::move(cuts)},
          {"stream", p.stream ? stream_json(*p.stream) : Json()},
          {"roles", std::move(roles)}};
}

}  // namespace stretto::app
