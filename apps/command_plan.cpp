// stretto plan: what a model would do and need, before anything is loaded.

#include <fmt/ranges.h>

#include "base/error.h"
#include "base/json.h"
#include "model_flags.h"
#include "program/lower.h"
#include "program/plan.h"
#include "program/print.h"
#include "terminal.h"

namespace stretto::app {
namespace {

struct PlanOptions {
  ModelFlags common;
  double bandwidth_gbps = 0;
  bool all = false;
  bool json = false;
};

struct Plan {
  Model model;
  Program lowered, unfused;
  uint64_t n_ctx = 0;
  MemoryPlan memory;
  uint64_t available = 0;
  Accounting token, token_unfused;
  uint64_t fits = 0;
  uint64_t copies = 0;  // bytes beside the plan, where there is room
  std::vector<std::string> slow_weights;
};

Plan make_plan(const Checkpoint& checkpoint, const Backend& backend, const PlanOptions& o) {
  Plan p;
  p.model = load_model(
      checkpoint, {.kv_type = o.common.kv_cache_type().value_or(DType::kF16), .strictness = o.common.strictness()});
  p.lowered = backend.lower(p.model.program);
  p.unfused = lower<PrimitiveOnly>(p.model.program);
  p.n_ctx = o.common.n_ctx != 0 ? o.common.n_ctx : p.model.spec.context_length;
  const StepShape chunk{.n_tokens = std::min(o.common.chunk != 0 ? o.common.chunk : backend.prefill_tokens(), p.n_ctx),
                        .n_outputs = 1};
  p.memory = plan_memory(p.lowered, p.n_ctx, chunk);
  p.available = backend.available_bytes();
  p.fits = largest_context(p.lowered, chunk, p.available);
  p.copies = backend.optional_bytes(p.lowered,
                                    {.n_ctx = p.n_ctx, .max_tokens = chunk.n_tokens, .max_outputs = chunk.n_outputs});
  p.slow_weights = backend.slow_weights(p.lowered);
  p.token = account(p.lowered, {});
  p.token_unfused = account(p.unfused, {});
  return p;
}

std::string spec_text(const DecoderSpec& s) {
  std::string out = fmt::format("layers {}, width {}, heads {}, kv heads {}, head size {}, rotated {}, ", s.n_layers,
                                s.d_model, s.n_heads, s.n_kv_heads, s.head_dim, 2 * s.rope->inv_freq.size());
  out += s.moe.n_experts == 0 ? fmt::format("ffn {}", s.d_ff)
                              : fmt::format("experts {} of {}, {} wide", s.moe.top_k, s.moe.n_experts, s.moe.d_ff);
  if (!s.swap.layers.empty())
    out +=
        fmt::format("\nswap layers {}: {} banks, {} events of {} FFN steps, memory {}", fmt::join(s.swap.layers, ", "),
                    s.swap.n_banks, s.swap.n_events, s.swap.k_ffn, s.swap.token_local ? "token-local" : "carried");
  return out + fmt::format("\nvocabulary {}, context {}, rms eps {:g}{}{}{}", s.vocab_size, s.context_length, s.rms_eps,
                           s.tied ? ", tied head" : "", s.qk_norm ? ", q/k norm" : "",
                           s.window != 0 ? fmt::format(", window {}", s.window) : std::string());
}

// Bytes that must cross the memory bus for one token: weights and state; activations stay in caches.
uint64_t floor_bytes(const Accounting& a) { return a.total.weight_bytes + a.total.state_bytes; }

void print_text(const Plan& p, const PlanOptions& o, const Backend& backend) {
  std::string out = fmt::format("{}: {}\n\n", p.model.program.architecture, spec_text(p.model.spec));
  out += fmt::format("program on {}, one token at position 0 (bytes and work per op)\n{}\n", backend.name(),
                     print_program(p.lowered, {}, o.all));
  out += print_roles(p.lowered, {});
  const Cost& t = p.token.total;
  out += fmt::format(
      "\nper token: {} ops in {} phases ({} ops in {} phases when nothing is fused), {} weights, {} state, {} "
      "activations, {:.2f} GFLOP\n",
      p.token.launches, p.token.n_phases, p.token_unfused.launches, p.token_unfused.n_phases,
      human_bytes(t.weight_bytes), human_bytes(t.state_bytes), human_bytes(t.activation_bytes),
      static_cast<double>(t.flops) / 1e9);
  if (o.bandwidth_gbps > 0) {
    const double us = static_cast<double>(floor_bytes(p.token)) / o.bandwidth_gbps / 1e3;
    out += fmt::format("floor at {:g} GB/s: {:.1f} us per token, {:.1f} tokens/s\n", o.bandwidth_gbps, us, 1e6 / us);
  }
  out +=
      fmt::format("memory at context {}: {} weights + {} state + {} activations = {}; {} free on {}: {}\n", p.n_ctx,
                  human_bytes(p.memory.weights), human_bytes(p.memory.state), human_bytes(p.memory.activations),
                  human_bytes(p.memory.total()), human_bytes(p.available), backend.name(),
                  p.memory.total() <= p.available ? std::string("fits")
                  : p.fits == 0                   ? std::string("does not fit at any context")
                                : fmt::format("does not fit; largest context that does: {} (-c {})", p.fits, p.fits));
  if (p.copies != 0)
    out +=
        fmt::format("beside that, decoded copies of weights for prefill: up to {}, in at most half of what is left\n",
                    human_bytes(p.copies));
  for (const std::string& slow : p.slow_weights) out += "slower path: " + slow + "\n";
  print_out(out);
}

Json json_cost(const Cost& c) {
  return {{"weight_bytes", c.weight_bytes},
          {"state_bytes", c.state_bytes},
          {"activation_bytes", c.activation_bytes},
          {"flops", c.flops}};
}

void print_json(const Plan& p, const PlanOptions& o, const Backend& backend) {
  Json ops = Json::array();
  for (size_t i = 0; i < p.lowered.nodes.size(); ++i) {
    const Node& n = p.lowered.nodes[i];
    Json op{{"layer", n.layer}, {"role", n.role}, {"op", std::string(op_name(n.op))}, {"phase", p.token.phase[i]}};
    op.update(json_cost(p.token.per_node[i]));
    ops.push_back(std::move(op));
  }
  Json out{{"architecture", p.model.program.architecture},
           {"device", backend.name()},
           {"n_ctx", p.n_ctx},
           {"ops_per_token", p.token.launches},
           {"ops_per_token_unfused", p.token_unfused.launches},
           {"phases_per_token", p.token.n_phases},
           {"phases_per_token_unfused", p.token_unfused.n_phases},
           {"bytes_per_token", floor_bytes(p.token)},
           {"per_token", json_cost(p.token.total)},
           {"ops", ops},
           {"memory_bytes",
            {{"weights", p.memory.weights},
             {"state", p.memory.state},
             {"activations", p.memory.activations},
             {"total", p.memory.total()},
             {"copies_at_most", p.copies},
             {"available", p.available}}},
           {"slow_weights", p.slow_weights},
           {"largest_context", p.fits}};
  if (o.bandwidth_gbps > 0) {
    out["roofline_gbps"] = o.bandwidth_gbps;
    out["floor_us_per_token"] = static_cast<double>(floor_bytes(p.token)) / o.bandwidth_gbps / 1e3;
  }
  print_out(dump_json(out, 1) + "\n");
}

}  // namespace

void add_plan(const Flags& app, int&) {
  auto o = std::make_shared<PlanOptions>();
  const Flags c = app.command("plan", "ops and bytes per token, and the memory needed, before loading");
  add_model_flags(c, o->common);
  add_device_flags(c, o->common);
  c.add("--bandwidth", o->bandwidth_gbps, "memory bandwidth in GB/s, for the floor of a token");
  c.add("--all", o->all, "print every layer");
  c.add("--json", o->json, "the plan as JSON on stdout");
  c.run([o] {
    set_quiet(o->common.quiet);
    const auto checkpoint = open_checkpoint(o->common.model);
    const auto backend = open_device(o->common.device);
    const Plan p = make_plan(*checkpoint, *backend, *o);
    for (const std::string& w : p.model.warnings) remark("warning: " + w);
    o->json ? print_json(p, *o, *backend) : print_text(p, *o, *backend);
  });
}

}  // namespace stretto::app
