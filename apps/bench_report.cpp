#include "bench_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <ctime>

#include "base/sha256.h"
#include "program/print.h"

namespace stretto::app {
namespace {

std::string utc_now() {
  const std::time_t now = std::time(nullptr);
  std::tm tm{};
  gmtime_r(&now, &tm);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &tm);
  return text;
}

std::string params_text(uint64_t n) {
  const auto v = static_cast<double>(n);
  return v >= 1e9 ? fmt::format("{:.2f} B", v / 1e9) : fmt::format("{:.2f} M", v / 1e6);
}

// The key of a row in comparisons: rows with equal keys measure the same thing.
constexpr const char* kIdentity[] = {"model_filename", "model_size", "backends", "gpu_info", "cpu_info",
                                     "type_k",         "n_prompt",   "n_gen",    "n_depth",  "e2e"};

bool same_quantity(const Json& a, const Json& b, std::string* difference) {
  for (const char* key : kIdentity) {
    if (a.value(key, Json()) == b.value(key, Json())) continue;
    *difference =
        fmt::format("{}: {} against {}", key, dump_json(a.value(key, Json())), dump_json(b.value(key, Json())));
    return false;
  }
  return true;
}

Json or_null(std::optional<double> v) { return v ? Json(*v) : Json(); }

std::vector<double> samples_of(const Json& row) {
  std::vector<double> out;
  for (const Json& v : row.value("samples_ts", Json::array()))
    if (v.is_number()) out.push_back(v.get<double>());
  return out;
}

}  // namespace

double roofline_share(const BenchRow& r) {
  return r.samples.test.n_prompt > 0 ? 0 : r.samples.sweep_share(r.bytes_per_token);
}

std::string token_fingerprint(const std::vector<int32_t>& tokens) {
  if (tokens.empty()) return {};
  std::vector<std::byte> bytes;
  for (const int32_t id : tokens)
    for (int shift = 0; shift < 32; shift += 8)
      bytes.push_back(static_cast<std::byte>(static_cast<uint32_t>(id) >> shift));
  return sha256_hex(bytes);
}

std::string limits_table(const std::string& device, const std::vector<DeviceLimit>& limits) {
  std::string out = fmt::format("{}\n\n| {:<18} | {:>10} | {:>6} | {:>9} | {:>8} | {}\n", device, "limit", "MB",
                                "count", "us", "GB/s", "");
  out += fmt::format("| {:-<18} | {:->9}: | {:->5}: | {:->8}: | {:->7}: | ---\n", "", "", "", "", "");
  const auto cell = [](double v, int digits) { return v > 0 ? fmt::format("{:.{}f}", v, digits) : std::string(); };
  for (const DeviceLimit& l : limits)
    out += fmt::format("| {:<18} | {:>10} | {:>6} | {:>9} | {:>8} | {}\n", l.what,
                       cell(static_cast<double>(l.bytes) / 1e6, 0), cell(static_cast<double>(l.count), 0),
                       cell(l.us, 2), cell(l.gbps, 1), l.detail);
  return out;
}

Json limits_json(const std::string& backend, const std::string& device, const std::vector<DeviceLimit>& limits) {
  Json list = Json::array();
  for (const DeviceLimit& l : limits) {
    Json one{{"limit", l.what}, {"detail", l.detail}};
    if (l.bytes != 0) one["bytes"] = l.bytes;
    if (l.count != 0) one["count"] = l.count;
    if (l.us > 0) one["us"] = l.us;
    if (l.gbps > 0) one["gbps"] = l.gbps;
    list.push_back(std::move(one));
  }
  return {{"backends", backend}, {"device", device}, {"test_time", utc_now()}, {"limits", std::move(list)}};
}

std::string markdown_header(const BenchContext& c) {
  const std::string sweep = c.sweep ? " GB/s swept | of sweep |" : "", line = c.sweep ? " ---------: | -------: |" : "";
  return fmt::format(
      "| {:<30} | {:>10} | {:>10} | {:<10} | {:>7} | {:>15} | {:>20} |{}\n"
      "| {:-<30} | {:->9}: | {:->9}: | {:-<10} | {:->6}: | {:->14}: | {:->19}: |{}\n",
      "model", "size", "params", "backend", "threads", "test", "t/s", sweep, "", "", "", "", "", "", "", line);
}

std::string markdown_row(const BenchContext& c, const BenchRow& r) {
  const double share = roofline_share(r);
  std::string last;
  if (c.sweep) last = r.e2e ? "            |" : fmt::format(" {:>10.1f} |", r.samples.median_sweep_gbps());
  if (c.sweep) last += share > 0 ? fmt::format(" {:>6.1f} % |", 100 * share) : "          |";
  const std::string speed = fmt::format("{:.2f} ± {:.2f}", r.samples.average_ts(), r.samples.stddev_ts());
  return fmt::format("| {:<30} | {:>10} | {:>10} | {:<10} | {:>7} | {:>15} | {:>20} |{}\n", c.model_type,
                     human_bytes(c.model_bytes), params_text(c.model_params), c.backend, c.n_threads,
                     r.samples.test.name() + (r.e2e ? " e2e" : ""), speed, last);
}

Json json_row(const BenchContext& c, const BenchRow& r) {
  const BenchSamples& s = r.samples;
  const bool gpu = c.backend != "cpu" && c.backend != "oracle";
  Json out{{"build_commit", "unknown"},
           {"build_number", 0},
           {"cpu_info", gpu ? "" : c.device},
           {"gpu_info", gpu ? c.device : ""},
           {"backends", c.backend},
           {"model_filename", c.model_path},
           {"model_type", c.model_type},
           {"model_size", c.model_bytes},
           {"model_n_params", c.model_params},
           {"n_batch", c.n_batch},
           {"n_ubatch", c.n_batch},
           {"n_threads", c.n_threads},
           {"type_k", c.kv_type},
           {"type_v", c.kv_type},
           {"n_gpu_layers", gpu ? 99 : 0},
           {"flash_attn", true},
           {"n_prompt", s.test.n_prompt},
           {"n_gen", s.test.n_gen},
           {"n_depth", s.test.n_depth},
           {"test_time", utc_now()},
           {"avg_ns", s.average_ns()},
           {"stddev_ns", s.stddev_ns()},
           {"avg_ts", s.average_ts()},
           {"stddev_ts", s.stddev_ts()},
           {"samples_ns", s.ns},
           {"samples_ts", s.tokens_per_second()},
           {"median_ts", s.median_ts()},
           {"kernels_per_token", r.kernels_per_token},
           {"graph_launches_per_token", r.graph_launches_per_token},
           {"host_gap_us_per_token", or_null(r.host_gap_us)},
           {"bytes_per_token", r.bytes_per_token},
           {"peak_memory_bytes", r.peak_bytes},
           {"peak_vram_bytes", r.peak_vram_bytes != 0 ? Json(r.peak_vram_bytes) : Json()},
           {"p99_itl_ms", or_null(s.p99_gap_ms())},
           {"ttft_ms", or_null(r.first_token_ms)},
           {"clock_sm_mhz_min", or_null(s.device.clock_sm_mhz_min)},
           {"clock_sm_mhz_avg", or_null(s.device.clock_sm_mhz_avg)},
           {"power_w_avg", or_null(s.device.power_w_avg)},
           {"power_limit_w", or_null(s.device.power_limit_w)},
           {"temp_c_max", or_null(s.device.temp_c_max)},
           {"sensor_samples", s.device.n_samples},
           {"greedy_token_sha256", r.token_sha.empty() ? Json() : Json(r.token_sha)},
           {"e2e", r.e2e}};
  const bool swept = !s.sweep_gbps.empty();
  out["roofline_gbps"] = swept ? Json(s.median_sweep_gbps()) : Json();
  out["roofline_share"] = swept && s.test.n_prompt == 0 ? Json(roofline_share(r)) : Json();
  if (swept) out["samples_roofline_gbps"] = s.sweep_gbps;
  return out;
}

std::string csv_header() {
  return "model,size,params,backend,threads,n_prompt,n_gen,n_depth,avg_ns,stddev_ns,avg_ts,stddev_ts,median_ts,"
         "bytes_per_token,roofline_share\n";
}

std::string csv_row(const BenchContext& c, const BenchRow& r) {
  const BenchSamples& s = r.samples;
  return fmt::format("\"{}\",{},{},{},{},{},{},{},{:.0f},{:.0f},{:.4f},{:.4f},{:.4f},{},{:.4f}\n", c.model_type,
                     c.model_bytes, c.model_params, c.backend, c.n_threads, s.test.n_prompt, s.test.n_gen,
                     s.test.n_depth, s.average_ns(), s.stddev_ns(), s.average_ts(), s.stddev_ts(), s.median_ts(),
                     r.bytes_per_token, roofline_share(r));
}

std::string compare(const Json& before, const Json& after, double tolerance, int* exit_code) {
  *exit_code = 0;
  if (!before.is_array() || !after.is_array() || before.empty() || before.size() != after.size()) {
    *exit_code = 2;
    return "not comparable: the two files hold different numbers of tests\n";
  }
  std::string out;
  for (size_t i = 0; i < before.size(); ++i) {
    std::string difference;
    if (!same_quantity(before[i], after[i], &difference)) {
      *exit_code = 2;
      return out + fmt::format("not comparable: test {}: {}\n", i + 1, difference);
    }
    std::vector<double> a = samples_of(before[i]), b = samples_of(after[i]);
    if (a.empty() || b.empty()) {
      *exit_code = 2;
      return out + fmt::format("not comparable: test {} has no samples_ts\n", i + 1);
    }
    std::sort(a.begin(), a.end());
    std::sort(b.begin(), b.end());
    const double ratio = b[b.size() / 2] / a[a.size() / 2];
    // The interval spans the extreme ratios that the samples allow.
    const double low = b.front() / a.back(), high = b.back() / a.front();
    const bool slower = ratio < 1 - tolerance && high < 1;
    if (slower) *exit_code = 1;
    const BenchTest test{before[i].value("n_prompt", uint64_t{0}), before[i].value("n_gen", uint64_t{0}),
                         before[i].value("n_depth", uint64_t{0})};
    out += fmt::format("{:<20} {:>10.2f} -> {:>10.2f} t/s  ratio {:.3f} [{:.3f}, {:.3f}]{}\n", test.name(),
                       a[a.size() / 2], b[b.size() / 2], ratio, low, high, slower ? "  SLOWER" : "");
  }
  return out;
}

}  // namespace stretto::app
