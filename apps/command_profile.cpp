// stretto profile: where the time of one token goes, by role, against what the bytes of each role cost at least.

#include <algorithm>
#include <random>

#include "base/error.h"
#include "model_flags.h"
#include "profile_report.h"
#include "program/lower.h"
#include "terminal.h"

namespace stretto::app {
namespace {

constexpr uint64_t kMaxDepth = 10'000'000;

struct ProfileFlags {
  ModelFlags common;
  uint64_t depth = 0;
  int n_steps = 16, n_rounds = 5;
  bool json = false;
};

// Random tokens up to the depth, so that the caches hold what generation would find there.
void fill_context(Session& session, uint64_t depth) {
  std::mt19937_64 random(1);
  std::vector<int32_t> tokens(depth);
  for (int32_t& id : tokens) id = static_cast<int32_t>(random() % session.vocab_size());
  const auto proceed = [](uint64_t, uint64_t) { return !interrupted(); };
  if (depth > 0) session.append(tokens, 0, proceed);
  if (interrupted()) fail(ErrorKind::kCancelled, "interrupted");
}

std::vector<TokenCut> cuts_of(const Program& written, const Accounting& running, const Profile& profile,
                              const StepShape& step) {
  const Accounting unfused = account(lower<PrimitiveOnly>(written), step), coarse = account(written, step);
  std::vector<TokenCut> cuts{{"primitive ops: nothing fused", "unfused", unfused.launches, unfused.n_phases},
                             {"ops as the architecture writes them", "written", coarse.launches, coarse.n_phases},
                             {"ops as this backend runs them", "fused", running.launches, running.n_phases}};
  if (profile.n_launches != 0) cuts.push_back({"kernels of one greedy step", "kernels", profile.n_launches, 0});
  return cuts;
}

double median(std::vector<double> v) {
  std::sort(v.begin(), v.end());
  return v[v.size() / 2];
}

void run_profile_command(const ProfileFlags& f) {
  const auto checkpoint = open_checkpoint(f.common.model);
  const auto backend = open_device(f.common.device);
  EngineOptions options;
  const auto n_steps = static_cast<uint64_t>(f.n_steps);
  options.n_ctx = std::max(f.common.n_ctx, f.depth + n_steps + 1);
  options.max_tokens = f.common.chunk;
  options.n_threads = f.common.device.n_threads;
  options.kv_type = f.common.kv_cache_type().value_or(DType::kF16);
  options.strictness = f.common.strictness();
  install_interrupt_handler();
  Engine engine(*checkpoint, *backend, options, engine_log());
  if (f.depth + n_steps > engine.limits().n_ctx)
    fail(ErrorKind::kCapacity, "profile: depth {} and {} steps do not fit the context of {}", f.depth, n_steps,
         engine.limits().n_ctx);
  const std::unique_ptr<ReadSweep> sweep = backend->make_read_sweep();
  Session session = engine.make_session();
  fill_context(session, f.depth);
  constexpr int kPasses = 3;
  std::vector<double> gbps;
  for (int i = 0; i < kPasses; ++i) gbps.push_back(sweep->pass_gbps());
  const auto profile =
      engine.executable().profile({.token = 1, .position = f.depth, .n_steps = f.n_steps, .n_rounds = f.n_rounds});
  if (!profile) fail(ErrorKind::kUnsupported, "profile: --device {} takes no times", backend->name());
  for (int i = 0; i < kPasses; ++i) gbps.push_back(sweep->pass_gbps());
  const StepShape step{.n_tokens = 1, .n_outputs = 1, .position = f.depth};
  ProfileReport report{.model_path = checkpoint->path().string(),
                       .backend = backend->name(),
                       .device = backend->description(),
                       .depth = f.depth,
                       .roofline_gbps = median(gbps),
                       .profile = *profile,
                       .cuts = {},
                       .program = &engine.executable().program(),
                       .token = account(engine.executable().program(), step)};
  report.cuts = cuts_of(engine.model().program, report.token, report.profile, step);
  print_out(f.json ? dump_json(profile_json(report), 1) + "\n" : profile_text(report));
}

}  // namespace

void add_profile(const Flags& app, int&) {
  auto f = std::make_shared<ProfileFlags>();
  const Flags c = app.command("profile", "where the time of one token goes, by role of its kernels");
  add_model_flags(c, f->common);
  add_device_flags(c, f->common);
  c.add("-d,--n-depth", f->depth, "tokens already in the context").between(0, kMaxDepth);
  c.add("--steps", f->n_steps, "steps run back to back in one measurement").between(2, 1024);
  c.add("-r,--rounds", f->n_rounds, "measurements of everything in turn").between(1, 1000);
  c.add("--json", f->json, "the profile as JSON on stdout");
  c.run([f] {
    set_quiet(f->common.quiet);
    run_profile_command(*f);
  });
}

}  // namespace stretto::app
