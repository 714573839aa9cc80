#include "swap_suite.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <filesystem>
#include <random>

#include "base/error.h"
#include "base/json.h"
#include "engine/bench.h"
#include "engine/perplexity.h"
#include "program/lower.h"
#include "program/plan.h"
#include "swap_suite_model.h"
#include "swap_suite_report.h"
#include "terminal.h"
#include "tokens_argument.h"

namespace stretto::app {
namespace {

constexpr uint64_t kMaxOutputs = 256;  // logits of the prompt at a time
constexpr int kProfileSteps = 16, kProfileRounds = 3;
constexpr uint64_t kMaxScored = 256;  // of random ids, which are as likely as any
constexpr uint64_t kProbeTokens = 32, kLeastPrompt = 16, kLeastGenerated = 8;
// Float32 multiply-adds of an H100 SXM, the unit that products of one token run on.
constexpr double kH100Tflops = 66.9;

struct Variant {
  const char* name;
  bool in_primitives, needs_gpu;
  bool graph;
  const char* decode;
};
constexpr Variant kVariants[] = {{"unfused", true, false, false, "graph"},
                                 {"fused", false, false, false, "graph"},
                                 {"fused + graph", false, true, true, "graph"},
                                 {"persistent", false, true, true, "stream"}};

struct SuiteModel {
  std::string name, memory;  // "token-local", "carried", or "-"
  std::unique_ptr<Checkpoint> checkpoint;
};

bool has_swap_layers(const Checkpoint& c) { return !load_model(c).spec.swap.layers.empty(); }

// A model, and where it has swap layers the same with the other memory.
class SuiteModels {
 public:
  void add(const std::string& name, std::unique_ptr<Checkpoint> c) {
    if (has_swap_layers(*c)) {
      for (const bool local : {true, false})
        models_.push_back({name, local ? "token-local" : "carried", with_memory(*c, local)});
      bases_.push_back(std::move(c));
    } else {
      models_.push_back({name, "-", std::move(c)});
    }
  }
  const std::vector<SuiteModel>& list() const { return models_; }

 private:
  std::vector<std::unique_ptr<Checkpoint>> bases_;
  std::vector<SuiteModel> models_;
};

// A folder without a config.json stands for the models in it.
std::vector<std::string> model_paths(const std::string& argument) {
  std::vector<std::string> out;
  for (size_t at = 0; at <= argument.size();) {
    const size_t end = std::min(argument.find(',', at), argument.size());
    const std::filesystem::path path = argument.substr(at, end - at);
    at = end + 1;
    if (!std::filesystem::is_directory(path) || std::filesystem::exists(path / "config.json")) {
      out.push_back(path.string());
      continue;
    }
    const size_t before = out.size();
    for (const auto& entry : std::filesystem::directory_iterator(path))
      if (entry.path().extension() == ".gguf" || std::filesystem::exists(entry.path() / "config.json"))
        out.push_back(entry.path().string());
    if (out.size() == before) fail(ErrorKind::kNotFound, "bench: no models in {}", path.string());
    std::sort(out.begin() + static_cast<int64_t>(before), out.end());
  }
  return out;
}

SuiteModels open_models(const std::string& argument, const SwapSuiteFlags& f) {
  SuiteModels out;
  if (argument.empty()) {
    const auto shape = f.shape == "small" ? small_swap_shape : full_swap_shape;
    out.add("baseline", random_swap_model(shape(false)));
    out.add("hybrid1", random_swap_model(shape(true)));
    return out;
  }
  for (const std::string& path : model_paths(argument))
    out.add(std::filesystem::path(path).filename().string(), open_checkpoint(path));
  return out;
}

std::vector<int32_t> prompt_of(const SwapSuiteFlags& f, const Checkpoint& c, uint64_t vocab) {
  std::vector<int32_t> ids;
  if (!f.tokens.empty()) ids = parse_tokens(f.tokens);
  if (!f.text.empty()) {
    const LoadedTokenizer loaded = load_tokenizer(c, {}, {});
    if (!loaded.tokenizer) fail(ErrorKind::kUnsupported, "bench --suite-text: {}", loaded.missing_reason);
    ids = loaded.tokenizer->encode(read_file(f.text));
  }
  if (ids.empty()) {
    std::mt19937_64 random(1);
    for (uint64_t i = 0; i < f.n_prompt; ++i) ids.push_back(static_cast<int32_t>(random() % vocab));
  }
  if (ids.size() < 2) fail(ErrorKind::kBadArgument, "bench: a prompt of at least two tokens is scored");
  ids.resize(std::min<uint64_t>(ids.size(), f.n_prompt));
  return ids;
}

// Mean natural logarithm of the probability of every token of the prompt but the first.
double average_logprob(Session& session, const std::vector<int32_t>& prompt) {
  double sum = 0;
  const uint64_t vocab = session.vocab_size();
  session.rewind(0);
  session.append_all_logits(prompt, kMaxOutputs, [&](uint64_t first, std::span<const float> rows) {
    for (uint64_t i = 0; i * vocab < rows.size(); ++i) {
      if (first + i + 1 >= prompt.size()) break;
      const auto row = rows.subspan(i * vocab, vocab);
      sum += static_cast<double>(row[static_cast<size_t>(prompt[first + i + 1])]) - log_sum_exp(row);
    }
  });
  return sum / static_cast<double>(prompt.size() - 1);
}

double seconds_to_append(Session& session, std::span<const int32_t> ids) {
  const auto start = std::chrono::steady_clock::now();
  session.append(ids);
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// What a row measures: prefills of n_prompt tokens and runs of n_gen tokens behind them, n_runs of each and one more to
// warm up; the prompt also once in front of the runs and once for its probabilities.
struct RowPlan {
  uint64_t n_prompt = 0, n_gen = 0;
  int n_runs = 0;
  double prompt_token_s = 0, token_s = 0;  // estimates
  double seconds() const {
    return (n_runs + 3) * static_cast<double>(n_prompt) * prompt_token_s +
           (n_runs + 1) * static_cast<double>(n_gen) * token_s;
  }
};

// As much of what is asked for as fits into the row's seconds: first fewer runs, then a shorter prompt, then fewer
// tokens. The estimates are those of a short prompt, which takes longer per token where prompts are parallel.
RowPlan plan_row(Session& session, const SwapSuiteFlags& f, std::span<const int32_t> prompt) {
  RowPlan plan{.n_prompt = f.n_prompt, .n_gen = f.n_gen, .n_runs = f.repetitions};
  const auto probe = prompt.first(std::min<size_t>(kProbeTokens, prompt.size()));
  for (int i = 0; i < 2; ++i) {  // the first one warms up
    session.rewind(0);
    plan.prompt_token_s = seconds_to_append(session, probe) / static_cast<double>(probe.size());
    plan.token_s = seconds_to_append(session, prompt.first(1));
  }
  while (plan.n_runs > 1 && plan.seconds() > f.row_seconds) --plan.n_runs;
  while (plan.n_prompt > kLeastPrompt && plan.seconds() > f.row_seconds) plan.n_prompt /= 2;
  while (plan.n_gen > kLeastGenerated && plan.seconds() > f.row_seconds) plan.n_gen /= 2;
  return plan;
}

class Suite {
 public:
  Suite(const ModelFlags& common, const SwapSuiteFlags& flags) : common_(common), flags_(flags) {}

  SwapSuiteReport run() {
    const SuiteModels models = open_models(common_.model, flags_);
    SwapSuiteReport report;
    report.random_weights = common_.model.empty();
    report.n_prompt = flags_.n_prompt;
    report.n_gen = flags_.n_gen;
    report.row_seconds = flags_.row_seconds;
    report.random_prompt = flags_.tokens.empty() && flags_.text.empty();
    for (const SuiteModel& model : models.list())
      for (const Variant& variant : kVariants) {
        SwapSuiteRow& row = report.rows.emplace_back();
        row.model = model.name;
        row.memory = model.memory;
        row.variant = variant.name;
        if (interrupted()) {  // what is measured is printed
          row.problem = "interrupted";
          continue;
        }
        remark(fmt::format("{} {} {}", row.model, row.memory, row.variant));
        measure(model, variant, row, report);
      }
    return report;
  }

 private:
  // What cannot run leaves its reason in the row.
  void measure(const SuiteModel& model, const Variant& variant, SwapSuiteRow& row, SwapSuiteReport& report) {
    std::unique_ptr<Backend>& backend = backends_[static_cast<size_t>(&variant - kVariants)];
    if (!backend) {
      DeviceOptions device = common_.device;
      device.no_graph = !variant.graph;
      device.decode = variant.decode;
      backend = open_device(device);
    }
    backend_ = backend.get();
    report.device = backend_->description();
    report.backend = backend_->name();
    if (variant.needs_gpu && !backend_->name().starts_with("cuda")) {
      row.problem = fmt::format("--device {} has neither graphs nor a stream", backend_->name());
      return;
    }
    try {
      run_variant(model, variant, row, report);
    } catch (const Error& e) {
      if (e.kind() != ErrorKind::kUnsupported && e.kind() != ErrorKind::kCancelled) throw;
      row.problem = e.what();
    }
  }

  void run_variant(const SuiteModel& model, const Variant& variant, SwapSuiteRow& row, SwapSuiteReport& report) {
    const Model loaded = load_model(*model.checkpoint, {.kv_type = DType::kF16});
    const CompileOptions limits{.n_ctx = flags_.n_prompt + flags_.n_gen + kProfileSteps + 1,
                                .max_tokens = std::min(backend_->prefill_tokens(), flags_.n_prompt),
                                .max_outputs = std::min(kMaxOutputs, flags_.n_prompt)};
    const auto executable =
        backend_->compile(variant.in_primitives ? lower<PrimitiveOnly>(loaded.program) : loaded.program, limits);
    Session session(*executable, limits);
    std::vector<int32_t> prompt = prompt_of(flags_, *model.checkpoint, session.vocab_size());
    const RowPlan plan = plan_row(session, flags_, prompt);
    prompt.resize(std::min<uint64_t>(prompt.size(), plan.n_prompt));
    row.n_prompt = plan.n_prompt;
    row.n_gen = plan.n_gen;
    row.n_runs = plan.n_runs;
    BenchOptions bench{.repetitions = plan.n_runs, .proceed = {}};
    bench.proceed = [](const BenchTest&, int) { return !interrupted(); };
    const BenchSamples prefill = run_bench(session, {.n_prompt = plan.n_prompt}, bench);
    const BenchSamples decode = run_bench(session, {.n_gen = plan.n_gen, .n_depth = plan.n_prompt}, bench);
    if (interrupted()) fail(ErrorKind::kCancelled, "interrupted");
    row.prefill_ms = 1e3 * static_cast<double>(plan.n_prompt) / prefill.median_ts();
    row.tokens_per_second = decode.median_ts();
    row.kernels = executable->launches_per_token();
    row.launches = executable->graph_launches_per_token();
    if (row.kernels == 0) row.kernels = row.launches = executable->program().nodes.size();
    if (report.random_prompt) prompt.resize(std::min<uint64_t>(prompt.size(), kMaxScored));
    row.avg_logprob = average_logprob(session, prompt);
    if (std::string_view(variant.name).starts_with("fused") && model.memory != "carried")
      take_roofline(model, *executable, report);
  }

  // Of the last one that is asked for: where there is a graph, of the graph.
  void take_roofline(const SuiteModel& model, Executable& executable, SwapSuiteReport& report) {
    const auto profile = executable.profile(
        {.token = 1, .position = flags_.n_prompt, .n_steps = kProfileSteps, .n_rounds = kProfileRounds});
    if (!profile) return;
    const StepShape step{.n_tokens = 1, .n_outputs = 1, .position = flags_.n_prompt};
    report.roofline = SwapRoofline{.model = model.name,
                                   .gbps = backend_->make_read_sweep()->pass_gbps(),
                                   .tflops = flags_.peak_tflops,
                                   .token_us = profile->token_us,
                                   .lines = roofline_lines(*profile, executable.program(), step)};
    if (flags_.peak_tflops == 0 && backend_->description().find("H100") != std::string::npos)
      report.roofline->tflops = kH100Tflops;
  }

  const ModelFlags& common_;
  const SwapSuiteFlags& flags_;
  std::array<std::unique_ptr<Backend>, std::size(kVariants)> backends_;
  const Backend* backend_ = nullptr;  // of the variant that is measured
};

}  // namespace

void run_swap_suite(const ModelFlags& common, const SwapSuiteFlags& flags) {
  for (const std::string& format : {flags.output, flags.output_err})
    if (!format.empty() && format != "md" && format != "json")
      fail(ErrorKind::kBadArgument, "bench --suite: known formats are md and json, not {}", format);
  if (!(flags.row_seconds > 0))
    fail(ErrorKind::kBadArgument, "--suite-seconds {}: wanted more than 0", flags.row_seconds);
  if (flags.shape != "full" && flags.shape != "small")
    fail(ErrorKind::kBadArgument, "--suite-shape {}: wanted full or small", flags.shape);
  install_interrupt_handler();
  const SwapSuiteReport report = Suite(common, flags).run();
  const auto text = [&](const std::string& format) {
    return format == "json" ? dump_json(suite_json(report), 2) + "\n" : suite_text(report);
  };
  print_out(text(flags.output));
  if (!flags.output_err.empty()) std::fputs(text(flags.output_err).c_str(), stderr);
  if (interrupted()) fail(ErrorKind::kCancelled, "interrupted");
}

}  // namespace stretto::app
