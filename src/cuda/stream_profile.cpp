// The inside of a token of the persistent stream, from the clocks of its blocks.
#include <algorithm>

#include "cuda/executable.h"
#include "program/plan.h"

namespace stretto::cuda {
namespace {

// Adds what the blocks of one phase say to `to`.
void add_times(std::span<const StreamTime> blocks, PhaseTime& to) {
  double between = 0, wait = 0, work = 0, rest = 0, most = 0, ring = 0;
  uint32_t n_busy = 0;
  for (const StreamTime& t : blocks) {
    if (t.work_ns <= 0) continue;
    ++n_busy;
    between += t.wait_ns;
    wait += t.input_ns;
    work += t.work_ns;
    rest += t.rest_ns;
    most = std::max(most, t.work_ns);
    ring += t.ring_share;
  }
  to.n_busy = n_busy;
  to.n_idle = static_cast<uint32_t>(blocks.size()) - n_busy;
  if (n_busy == 0) return;
  const double per_block = 1e-3 / n_busy;
  to.between_us += between * per_block;
  to.wait_us += wait * per_block;
  to.work_us += work * per_block;
  to.rest_us += rest * per_block;
  to.most_work_us += most * 1e-3;
  if (to.ring_share) *to.ring_share += ring / n_busy;
}

void divide(PhaseTime& p, double n) {
  for (double* v : {&p.between_us, &p.wait_us, &p.work_us, &p.rest_us, &p.most_work_us}) *v /= n;
  if (p.ring_share) *p.ring_share /= n;
}

}  // namespace

// Clocks cost time themselves, so the token is timed without them first. Means over the rounds, the last token of each.
StreamProfile CudaExecutable::profile_stream(const ProfileOptions& options) {
  const Accounting costs = account(program_, {.n_tokens = 1, .n_outputs = 1, .position = options.position});
  StreamProfile out;
  for (int round = 0; round < options.n_rounds; ++round) {
    const double us = host_us_per_token(options.token, options.position, options.n_steps);
    out.token_us = round == 0 ? us : std::min(out.token_us, us);
  }
  end_loop();
  runner_->measure(true);
  for (int round = 0; round < options.n_rounds; ++round) {
    host_us_per_token(options.token, options.position, options.n_steps);
    end_loop();
    const std::vector<StreamTime> times = runner_->times();
    const size_t n_phases = runner_->n_phases(), n_sm = times.size() / n_phases;
    for (size_t i = 0; i < n_phases; ++i) {
      const Node& node = program_.nodes[times[i * n_sm].op];
      if (round == 0) {
        const uint64_t weights = runner_->weight_bytes(i);
        PhaseTime& phase = out.phases.emplace_back();
        phase.role = node.role;
        phase.layer = node.layer;
        phase.bytes = weights != 0 ? weights : costs.per_node[times[i * n_sm].op].state_bytes;
        if (weights != 0) phase.ring_share = 0;
      }
      add_times(std::span(times).subspan(i * n_sm, n_sm), out.phases[i]);
    }
  }
  runner_->measure(false);
  stop_decode();
  for (PhaseTime& p : out.phases) divide(p, options.n_rounds);
  return out;
}

}  // namespace stretto::cuda
