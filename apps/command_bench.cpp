// stretto bench: llama-bench's measurements and tables, with bytes per token and the share of the memory's bandwidth.

#include <charconv>
#include <map>

#include "base/error.h"
#include "bench_report.h"
#include "model_flags.h"
#include "program/plan.h"
#include "swap_suite.h"
#include "terminal.h"
#include "tokens_argument.h"
#include "version.h"

namespace stretto::app {
namespace {

struct BenchFlags {
  ModelFlags common;
  std::vector<std::string> prompt, generate, both, depth;
  int repetitions = 5;
  bool no_warmup = false, sweep = false, e2e = false, limits = false, no_watch = false;
  std::string output = "md", output_err;
  std::vector<std::string> compare_files;
  double tolerance = 0.02;
  std::string suite;
  SwapSuiteFlags swap;
};

uint64_t number(const std::string& text, const char* flag) {
  uint64_t v = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), v);
  if (error != std::errc{} || end != text.data() + text.size() || v > 10'000'000)
    fail(ErrorKind::kBadArgument, "{} {}: wanted a count of tokens", flag, text);
  return v;
}

// "512", "first-last", "first-last+step", "first-last*factor".
void expand(const std::string& item, const char* flag, std::vector<uint64_t>& out) {
  const size_t dash = item.find('-');
  if (dash == std::string::npos) return out.push_back(number(item, flag));
  const size_t op = item.find_first_of("+*", dash);
  const uint64_t first = number(item.substr(0, dash), flag);
  const uint64_t last = number(item.substr(dash + 1, op == std::string::npos ? op : op - dash - 1), flag);
  const uint64_t step = op == std::string::npos ? 1 : number(item.substr(op + 1), flag);
  const bool factor = op != std::string::npos && item[op] == '*';
  if (step < (factor ? 2 : 1) || (factor && first == 0))
    fail(ErrorKind::kBadArgument, "{} {}: this range never ends", flag, item);
  for (uint64_t v = first; v <= last; v = factor ? v * step : v + step) {
    out.push_back(v);
    if (out.size() > 1000) fail(ErrorKind::kBadArgument, "{} {}: more than 1000 tests", flag, item);
  }
}

std::vector<uint64_t> numbers(const std::vector<std::string>& items, const char* flag, uint64_t fallback) {
  std::vector<uint64_t> out;
  for (const std::string& item : items) expand(item, flag, out);
  if (items.empty()) out.push_back(fallback);
  return out;
}

std::vector<BenchTest> tests_of(const BenchFlags& f) {
  std::vector<BenchTest> out;
  for (const uint64_t depth : numbers(f.depth, "-d", 0)) {
    for (const uint64_t p : numbers(f.prompt, "-p", 512))
      if (p > 0) out.push_back({p, 0, depth});
    for (const uint64_t n : numbers(f.generate, "-n", 128))
      if (n > 0) out.push_back({0, n, depth});
    for (const std::string& pair : f.both) {
      const size_t comma = pair.find(',');
      if (comma == std::string::npos) fail(ErrorKind::kBadArgument, "-pg {}: wanted PROMPT,GENERATED", pair);
      out.push_back({number(pair.substr(0, comma), "-pg"), number(pair.substr(comma + 1), "-pg"), depth});
    }
  }
  if (out.empty()) fail(ErrorKind::kBadArgument, "bench: nothing to measure (-p 0 and -n 0)");
  return out;
}

// "qwen3 0.60B Q8_0": the encoding that holds most of the bytes.
std::string model_type(const Checkpoint& c, const Model& model, uint64_t* params) {
  std::map<DType, uint64_t> bytes;
  *params = 0;
  for (const StoredTensor& t : c.tensors()) {
    bytes[t.view.type] += t.view.bytes.size();
    *params += t.view.shape.elements();
  }
  DType most = DType::kF32;
  for (const auto& [type, n] : bytes)
    if (n > bytes[most]) most = type;
  const auto p = static_cast<double>(*params);
  const std::string size = p >= 1e9 ? fmt::format("{:.1f}B", p / 1e9) : fmt::format("{:.0f}M", p / 1e6);
  return fmt::format("{} {} {}", model.program.architecture, size, name(most));
}

// Prompt and greedy answer through sampling and detokenising, as a caller sees it.
BenchRow run_e2e(Session& session, const Tokenizer* tokenizer, const BenchTest& test, int repetitions) {
  BenchRow row;
  row.e2e = true;
  row.samples.test = test;
  std::vector<int32_t> prompt(test.n_prompt + test.n_depth + 1);
  for (size_t i = 0; i < prompt.size(); ++i) prompt[i] = static_cast<int32_t>((i * 7919 + 13) % session.vocab_size());
  GenerateParams params;
  params.max_tokens = static_cast<int64_t>(test.n_gen);
  params.sampling.temperature = 0;
  for (int i = -1; i < repetitions && !interrupted(); ++i) {
    session.rewind(0);
    GenerateHooks hooks;
    hooks.cancel = &interrupted();
    const Generation g = generate(session, tokenizer, prompt, params, hooks);
    const double ms = test.n_prompt > 0 ? g.timings.prompt_ms + g.timings.predicted_ms : g.timings.predicted_ms;
    row.token_sha = token_fingerprint(g.tokens);
    if (i < 0) continue;
    row.samples.ns.push_back(static_cast<uint64_t>(ms * 1e6));
    row.samples.first_token_ns.push_back(static_cast<uint64_t>(g.timings.first_token_ms * 1e6));
  }
  return row;
}

void emit(const std::string& format, const BenchContext& context, const BenchRow& row, bool first, Json& all,
          const std::function<void(const std::string&)>& out) {
  if (format == "md") out((first ? markdown_header(context) : "") + markdown_row(context, row));
  if (format == "csv") out((first ? csv_header() : "") + csv_row(context, row));
  if (format == "jsonl") out(dump_json(json_row(context, row)) + "\n");
  if (format == "json") all.push_back(json_row(context, row));
}

void check_format(const std::string& format, const char* flag) {
  if (format.empty() || format == "md" || format == "csv" || format == "json" || format == "jsonl") return;
  fail(ErrorKind::kBadArgument, "{} {}: known formats are md, csv, json and jsonl", flag, format);
}

// Tokens by the host's clock against the same number of steps by the device's.
std::optional<double> host_gap_us(const BenchSamples& samples, Executable& executable) {
  const BenchTest& t = samples.test;
  if (t.n_prompt > 0 || t.n_gen < 2) return std::nullopt;
  const auto device = executable.device_us_per_token(1, t.n_depth, static_cast<int>(t.n_gen));
  if (!device) return std::nullopt;
  return std::max(0.0, 1e6 / samples.median_ts() - *device);
}

void finish_row(BenchRow& row, Executable& executable) {
  const BenchTest& t = row.samples.test;
  row.graph_launches_per_token = executable.graph_launches_per_token();
  row.first_token_ms = row.samples.first_token_ms();
  if (!row.e2e) row.host_gap_us = host_gap_us(row.samples, executable);
  if (!row.e2e) row.token_sha = token_fingerprint(row.samples.greedy_tokens);
  const StepShape step{.n_tokens = 1, .n_outputs = 1, .position = t.n_depth + t.n_prompt + t.n_gen / 2};
  const Accounting a = account(executable.program(), step);
  row.bytes_per_token = a.total.weight_bytes + a.total.state_bytes;
  row.kernels_per_token = executable.launches_per_token() != 0 ? executable.launches_per_token() : a.launches;
  row.peak_bytes = executable.memory_bytes();
}

void run_limits_command(const BenchFlags& f) {
  if (!f.common.model.empty()) fail(ErrorKind::kBadArgument, "bench --limits measures a device: leave MODEL out");
  if (f.output != "md" && f.output != "json") fail(ErrorKind::kBadArgument, "bench --limits: -o is md or json");
  const auto backend = open_device(f.common.device);
  const std::vector<DeviceLimit> limits = backend->measure_limits();
  if (limits.empty()) fail(ErrorKind::kUnsupported, "bench --limits: --device {} has none", backend->name());
  const std::string device = backend->description();
  print_out(f.output == "json" ? dump_json(limits_json(backend->name(), device, limits), 1) + "\n"
                               : limits_table(device, limits));
}

void run_bench_command(const BenchFlags& f) {
  check_format(f.output, "-o");
  check_format(f.output_err, "-oe");
  const std::vector<BenchTest> tests = tests_of(f);
  uint64_t n_ctx = 0;
  for (const BenchTest& t : tests) n_ctx = std::max(n_ctx, t.n_depth + t.n_prompt + t.n_gen + 1);
  const auto checkpoint = open_checkpoint(f.common.model);
  const auto backend = open_device(f.common.device);
  EngineOptions options;
  options.n_ctx = f.common.n_ctx != 0 ? f.common.n_ctx : n_ctx;
  options.max_tokens = f.common.chunk;
  options.n_threads = f.common.device.n_threads;
  options.kv_type = f.common.kv_cache_type().value_or(DType::kF16);
  options.strictness = f.common.strictness();
  Engine engine(*checkpoint, *backend, options, engine_log());
  const LoadedTokenizer loaded = load_tokenizer(*checkpoint, f.common.tokenizer, engine_log());
  install_interrupt_handler();
  BenchContext context;
  context.model_path = checkpoint->path().string();
  context.model_type = model_type(*checkpoint, engine.model(), &context.model_params);
  context.model_bytes = checkpoint->tensor_bytes();
  context.backend = backend->name();
  context.device = backend->description();
  context.kv_type = std::string(name(*options.kv_type));
  context.n_batch = engine.limits().max_tokens;
  context.n_threads = backend->thread_count();
  context.sweep = f.sweep;
  const uint64_t peak_vram_bytes = backend->taken_bytes();  // before anything that only measures
  const std::unique_ptr<DeviceWatch> watch = f.no_watch ? nullptr : backend->make_watch();
  if (watch && !watch->problem().empty()) remark("clocks and power are not sampled: " + watch->problem());
  const std::unique_ptr<ReadSweep> sweep = f.sweep ? backend->make_read_sweep() : nullptr;
  Session session = engine.make_session();
  Json all = Json::array(), all_err = Json::array();
  bool first = true;
  for (const BenchTest& test : tests) {
    for (const bool e2e : {false, true}) {
      if (e2e && (!f.e2e || test.n_gen == 0)) continue;
      BenchOptions bench{.repetitions = f.repetitions,
                         .warmup = !f.no_warmup,
                         .sweep = sweep.get(),
                         .watch = watch.get(),
                         .proceed = {}};
      bench.proceed = [](const BenchTest&, int) { return !interrupted(); };
      BenchRow row;
      if (e2e) row = run_e2e(session, loaded.tokenizer.get(), test, f.repetitions);
      if (!e2e) row.samples = run_bench(session, test, bench);
      if (interrupted()) fail(ErrorKind::kCancelled, "interrupted");
      row.peak_vram_bytes = peak_vram_bytes;
      finish_row(row, engine.executable());
      emit(f.output, context, row, first, all, [](const std::string& s) { print_out(s); });
      emit(f.output_err, context, row, first, all_err, [](const std::string& s) { std::fputs(s.c_str(), stderr); });
      first = false;
    }
  }
  if (f.output == "json") print_out(dump_json(all, 2) + "\n");
  if (f.output_err == "json") std::fputs((dump_json(all_err, 2) + "\n").c_str(), stderr);
  if (f.output == "md") print_out(fmt::format("\nbuild: stretto {}\n", kVersion));
}

void run_suite(const BenchFlags& f) {
  if (f.suite != "swap-ffn") fail(ErrorKind::kBadArgument, "bench --suite {}: the known suite is swap-ffn", f.suite);
  SwapSuiteFlags swap = f.swap;
  const std::vector<uint64_t> prompts = numbers(f.prompt, "-p", swap.n_prompt),
                              generated = numbers(f.generate, "-n", swap.n_gen);
  if (prompts.size() != 1 || generated.size() != 1 || prompts[0] < 2 || generated[0] < 2)
    fail(ErrorKind::kBadArgument, "bench --suite: one -p and one -n, at least 2");
  swap.n_prompt = prompts[0];
  swap.n_gen = generated[0];
  swap.repetitions = f.repetitions;
  swap.output = f.output;
  swap.output_err = f.output_err;
  run_swap_suite(f.common, swap);
}

void add_suite_flags(const Flags& c, BenchFlags& f) {
  c.add("--suite", f.suite,
        "swap-ffn: baseline and hybrid, unfused to persistent; MODEL: several with commas, a folder, or none "
        "for random weights");
  c.add("--suite-shape", f.swap.shape, "of random weights: full or small");
  c.add("--suite-tokens", f.swap.tokens, "the prompt of a suite as ids, or @FILE");
  c.add("--suite-text", f.swap.text, "the prompt of a suite as a text file");
  c.add("--suite-seconds", f.swap.row_seconds,
        "of measuring a row of a suite; where they are too few, a row measures less and says so");
  c.add("--peak-tflops", f.swap.peak_tflops, "ceiling of a suite's compute column");
}

}  // namespace

void add_bench(const Flags& app, int& exit_code) {
  auto f = std::make_shared<BenchFlags>();
  const Flags c = app.command("bench", "speed of prompt processing and generation, as llama-bench measures it");
  c.add("model,-m,--model", f->common.model, "a GGUF file, a Hugging Face directory or a hub name");
  c.add("--lenient", f->common.lenient, "unknown metadata and unused tensors are warnings, not errors");
  c.add("-q,--quiet", f->common.quiet, "no remarks on stderr (errors still appear)");
  add_device_flags(c, f->common);
  c.add("-p,--n-prompt", f->prompt, "prompt lengths: 512, 128,512 or 128-1024*2").separated_by(',');
  c.add("-n,--n-gen", f->generate, "tokens to generate: 128, 32,128").separated_by(',');
  c.add("--pg", f->both, "PROMPT,GENERATED measured together (repeatable)");
  c.add("-d,--n-depth", f->depth, "tokens already in the context: 0,4096").separated_by(',');
  c.add("-r,--repetitions", f->repetitions, "repetitions of each test").between(1, 10000);
  c.add("--no-warmup", f->no_warmup, "count the first run too");
  c.add("--sweep", f->sweep,
        "measure the memory's read bandwidth before and after each repetition, show each row's share");
  c.add("--limits", f->limits, "no model: measure what the device can do at best (md or json)");
  c.add("--no-watch", f->no_watch, "do not sample clocks, power and temperature meanwhile");
  c.add("--e2e", f->e2e, "also with sampling and detokenising");
  c.add("-o,--output", f->output, "md, csv, json or jsonl on stdout");
  c.add("--oe,--output-err", f->output_err, "a second format, on stderr");
  c.add("--compare", f->compare_files, "two JSON results: BEFORE AFTER; exit 1 if slower, 2 if not comparable")
      .takes(2);
  c.add("--tolerance", f->tolerance, "slow-down that --compare accepts");
  add_suite_flags(c, *f);
  c.run([f, &exit_code] {
    set_quiet(f->common.quiet);
    if (f->compare_files.size() == 2) {
      JsonOptions options;
      options.error_kind = ErrorKind::kBadArgument;
      const Json before = parse_json(read_file(f->compare_files[0]), f->compare_files[0], options);
      const Json after = parse_json(read_file(f->compare_files[1]), f->compare_files[1], options);
      print_out(compare(before, after, f->tolerance, &exit_code));
      return;
    }
    if (!f->suite.empty()) return run_suite(*f);
    if (f->limits) return run_limits_command(*f);
    if (f->common.model.empty()) fail(ErrorKind::kBadArgument, "bench: which MODEL?");
    run_bench_command(*f);
  });
}

}  // namespace stretto::app
