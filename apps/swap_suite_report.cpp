#include "swap_suite_report.h"

#include <fmt/format.h>

#include "program/plan.h"

namespace stretto::app {
namespace {

// Percent of a ceiling, 0 where one of the two is unknown.
double percent(double amount, double us, double ceiling_per_us) {
  return us > 0 && ceiling_per_us > 0 ? 100 * amount / us / ceiling_per_us : 0;
}
double memory_percent(const SwapRoofline& r, const RooflineLine& l) {
  return percent(static_cast<double>(l.bytes), l.time.us, r.gbps * 1e3);
}
double compute_percent(const SwapRoofline& r, const RooflineLine& l) {
  return percent(static_cast<double>(l.flops), l.time.us, r.tflops * 1e6);
}

std::string roofline_text(const SwapRoofline& r) {
  std::string out = fmt::format(
      "\none token of {}: {:.1f} us; ceilings {:.0f} GB/s (swept), {}\n\n"
      "| role           | launches | duration us | saved us | compute % | memory % |\n"
      "| -------------- | -------: | ----------: | -------: | --------: | -------: |\n",
      r.model, r.token_us, r.gbps, r.tflops > 0 ? fmt::format("{:.1f} TFLOP/s", r.tflops) : "compute unknown");
  for (const RooflineLine& l : r.lines)
    out += fmt::format("| {:<14} | {:>8} | {:>11.1f} | {:>8} | {:>9} | {:>8.1f} |\n", l.time.role, l.time.n_launches,
                       l.time.us, l.time.saved_us ? fmt::format("{:.1f}", *l.time.saved_us) : "",
                       r.tflops > 0 ? fmt::format("{:.2f}", compute_percent(r, l)) : "n/a", memory_percent(r, l));
  return out;
}

}  // namespace

std::vector<RooflineLine> roofline_lines(const Profile& profile, const Program& program, const StepShape& step) {
  const Accounting a = account(program, step);
  std::vector<RooflineLine> lines;
  for (const RoleTime& time : profile.roles) {
    RooflineLine& line = lines.emplace_back();
    line.time = time;
    for (size_t i = 0; i < program.nodes.size(); ++i) {
      if (program.nodes[i].role != time.role) continue;
      line.bytes += a.per_node[i].weight_bytes + a.per_node[i].state_bytes;
      line.flops += a.per_node[i].flops;
    }
  }
  return lines;
}

std::string suite_text(const SwapSuiteReport& r) {
  std::string out = fmt::format(
      "swap-FFN suite on {} ({}): batch 1, prefill {}, decode {}, at most {:g} s a row, {}; {}\n\n", r.backend,
      r.device, r.n_prompt, r.n_gen, r.row_seconds, r.random_weights ? "random bf16 weights" : "weights as stored",
      r.random_prompt ? "avg_logprob over up to 256 random ids" : "avg_logprob over the given prompt");
  out +=
      "| model                | memory      | variant       | prompt | tokens | runs | prefill ms |    tok/s | "
      "ms/token "
      "| avg_logprob | kernels | launches |\n"
      "| -------------------- | ----------- | ------------- | -----: | -----: | ---: | ---------: | -------: | "
      "-------: "
      "| ----------: | ------: | -------: |\n";
  std::string problems;
  for (const SwapSuiteRow& row : r.rows) {
    out += fmt::format("| {:<20} | {:<11} | {:<13} | ", row.model, row.memory, row.variant);
    if (!row.problem.empty()) {
      out += fmt::format("{0:>6} | {0:>6} | {0:>4} | {0:>10} | {0:>8} | {0:>8} | {0:>11} | {0:>7} | {0:>8} |\n", "n/a");
      const std::string line = fmt::format("n/a: {}: {}\n", row.variant, row.problem);
      if (problems.find(line) == std::string::npos) problems += line;
      continue;
    }
    out += fmt::format("{:>6} | {:>6} | {:>4} | {:>10.2f} | {:>8.1f} | {:>8.3f} | {:>11.4f} | {:>7} | {:>8} |\n",
                       row.n_prompt, row.n_gen, row.n_runs, row.prefill_ms, row.tokens_per_second,
                       1e3 / row.tokens_per_second, row.avg_logprob, row.kernels, row.launches);
  }
  if (!problems.empty()) out += "\n" + problems;
  if (r.roofline) out += roofline_text(*r.roofline);
  return out;
}

Json suite_json(const SwapSuiteReport& r) {
  Json rows = Json::array();
  for (const SwapSuiteRow& row : r.rows) {
    Json one{{"model", row.model}, {"memory", row.memory}, {"variant", row.variant}};
    if (!row.problem.empty()) {
      one["problem"] = row.problem;
    } else {
      one.update({{"n_prompt", row.n_prompt},
                  {"n_gen", row.n_gen},
                  {"n_runs", row.n_runs},
                  {"prefill_ms", row.prefill_ms},
                  {"tokens_per_second", row.tokens_per_second},
                  {"ms_per_token", 1e3 / row.tokens_per_second},
                  {"avg_logprob", row.avg_logprob},
                  {"kernels_per_token", row.kernels},
                  {"launches_per_token", row.launches}});
    }
    rows.push_back(std::move(one));
  }
  Json out{{"suite", "swap-ffn"},
           {"backends", r.backend},
           {"device", r.device},
           {"random_weights", r.random_weights},
           {"random_prompt", r.random_prompt},
           {"n_prompt", r.n_prompt},
           {"n_gen", r.n_gen},
           {"row_seconds", r.row_seconds},
           {"rows", std::move(rows)},
           {"roofline", Json()}};
  if (!r.roofline) return out;
  Json lines = Json::array();
  for (const RooflineLine& l : r.roofline->lines)
    lines.push_back({{"role", l.time.role},
                     {"launches", l.time.n_launches},
                     {"us", l.time.us},
                     {"saved_us", l.time.saved_us ? Json(*l.time.saved_us) : Json()},
                     {"compute_percent", r.roofline->tflops > 0 ? Json(compute_percent(*r.roofline, l)) : Json()},
                     {"memory_percent", memory_percent(*r.roofline, l)}});
  out["roofline"] = {{"model", r.roofline->model},
                     {"gbps", r.roofline->gbps},
                     {"tflops", r.roofline->tflops > 0 ? Json(r.roofline->tflops) : Json()},
                     {"token_us", r.roofline->token_us},
                     {"roles", std::move(lines)}};
  return out;
}

}  // namespace stretto::app
